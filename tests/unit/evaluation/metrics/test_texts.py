"""Metrics of texts with one reference or several, by hand; `tests/parity` compares them with other packages."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.evaluation.compare import paired_bootstrap, row_wins
from burnish.evaluation.metrics.resampling import measured, value_of
from burnish.evaluation.metrics.texts import TEXT_METRICS, Bleu, CorpusChrF, RougeL, words_13a


def test_bleu_by_hand() -> None:
    """the cat is on the mat: 5 of 6 words, 3 of 5 pairs, 1 of 4 triples, no run of four, which counts half of one."""
    value = Bleu().score("the cat sat on the mat", "the cat is on the mat")
    assert value == pytest.approx((5 / 6 * 3 / 5 * 1 / 4 * 1 / (2 * 3)) ** 0.25)


def test_bleu_of_short_texts() -> None:
    """The penalty is exp(1 - 6 / 4) for four words where six are wanted; three words have no run of four."""
    assert Bleu().score("a b c d e f", "a b c d") == pytest.approx(np.exp(-0.5))
    assert Bleu().score("a b c d", "a b c") == 0.0
    assert Bleu().score("a", "") == 0.0


def test_of_several_references_any_is_right() -> None:
    references = ("hay un gato aquí dentro", "el gato está dentro ahora")
    for metric in (CorpusChrF(), Bleu(), RougeL()):
        assert metric.score(references, references[1]) == pytest.approx(1.0)
        assert metric.score(references, "un perro") < metric.score(references, "hay un gato") or metric.name == "bleu"


def test_rouge_l_by_hand() -> None:
    """Of 6 and 5 words four stand in one order in both: 2 * 4 / (6 + 5)."""
    assert RougeL().score("The cat sat on the mat.", "the cat on a mat") == pytest.approx(8 / 11)
    assert RougeL().score("¿Qué?", "que") == 0.0
    assert RougeL().score("...", "a") == 0.0


def test_words() -> None:
    assert words_13a("1,000.5 cats, (and) &quot;3-4&quot; dogs.\n") == [
        *("1,000.5", "cats", ",", "(", "and", ")", '"', "3", "-", "4", '"', "dogs", ".")
    ]


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_a_weight_is_a_repetition(metric: type) -> None:
    """The value of weighted rows is that of the rows written out as often."""
    rows = [(("the cat sat on a mat",), "the cat sat there on a mat"), (("a dog",), "the dog"), (("x y", "z"), "z")]
    weights = np.array([[1, 1, 1], [3, 0, 2]])
    references, said = [row[0] for row in rows], [row[1] for row in rows]
    found = metric().weighted(references, said, weights)
    for value, counts in zip(found, weights.tolist(), strict=True):
        written = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
        whole = measured(metric(), [row[0] for row in written], [row[1] for row in written])
        assert value == pytest.approx(whole.value)


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_shards_and_intervals(metric: type) -> None:
    references = [f"the cat number {i} sat on mat {i % 7}" for i in range(40)]
    said = [text if i % 3 else text.replace("cat", "dog") for i, text in enumerate(references)]
    parts = [metric(), metric()]
    for part, chosen in zip(parts, (slice(0, 15), slice(15, 40)), strict=True):
        part.update([{"label": text} for text in said[chosen]], [{"label": text} for text in references[chosen]])
    parts[0].merge(parts[1])
    value = parts[0].compute()
    assert value.value == pytest.approx(value_of(metric(), references, said))
    assert value.n == 40
    assert value.low is not None
    assert value.high is not None
    assert 0 < value.low < value.value < value.high < 1
    worse = ["a dog"] * 40
    difference = paired_bootstrap(metric(), references, said, worse, resamples=200, seed=0)
    assert 0 < difference.low < difference.value < difference.high
    assert row_wins(metric(), references, said, worse) == (40, 0)
