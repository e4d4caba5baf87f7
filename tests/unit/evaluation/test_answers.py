"""Metrics of written answers, and the verdict they lead to."""

from __future__ import annotations

import random

import pytest

from burnish.evaluation.answer_arms import Neighbours, copied_source, most_frequent_answer, nearest_answer
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.compare import sign_test
from burnish.evaluation.judge_answers import judge_answers
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.answers import (
    ChrF,
    ExactMatch,
    FinalNumber,
    JsonMatch,
    default_answer_metric,
    final_number,
    json_values,
)
from burnish.evaluation.metrics.resampling import measured
from burnish.evaluation.options import EvaluationOptions


# sacrebleu 2.5, sentence_chrf(hypothesis, [reference]).score / 100
@pytest.mark.parametrize(
    ("reference", "answer", "wanted"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", 1.0),
        ("abc", "xyz", 0.0),
        ("abcd", "abce", 0.4792),
    ],
)
def test_chrf(reference: str, answer: str, wanted: float) -> None:
    assert ChrF().score(reference, answer) == pytest.approx(wanted, abs=5e-4)


def test_chrf_by_hand() -> None:
    """abcd and abce: 3/4 of the letters, 2/3 of the pairs, 1/2 of the threes, none of the fours: mean 23/48."""
    assert ChrF().score("abcd", "abce") == pytest.approx((3 / 4 + 2 / 3 + 1 / 2 + 0) / 4)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("She has 3 + 4 = 7 apples.\n#### 7", 7.0),
        ("#### 1,234.5 dollars, or 2", 1234.5),
        ("first 1, then -2", -2.0),
        ("none", None),
        ("9" * 400, None),
    ],
)
def test_final_number(text: str, wanted: float | None) -> None:
    assert final_number(text) == wanted
    assert FinalNumber().score(text, "it is 7") == float(wanted == 7.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": 1, "b": [2]}', '{ "b":[2.0], "a":1 }', True),
        ('<tool_call>\n{"name": "f"}\n</tool_call>', '{"name": "f"}', True),
        ('{"name": "f"}\n{"name": "g"}', '{"name": "f"} {"name": "g"}', True),
        ('{"a": 1}', '{"a": 2}', False),
        ('{"a": 1}', 'so: {"a": 1}', False),
        ('{"a": 1}', '{"a": 1', False),
        ('{"a": 1}', "[" * 100_000, False),
    ],
)
def test_json_match(one: str, other: str, same: bool) -> None:
    assert JsonMatch().score(one, other) == float(same)


def test_plain_words_are_no_json() -> None:
    assert json_values("1") is None
    assert json_values("") is None
    assert JsonMatch().score("words", "words") == 0.0


@pytest.mark.parametrize(
    ("answers", "metric"),
    [
        (['{"a": 1}'] * 9 + ["no"], "json-match"),
        (["so 2\n#### 2"] * 10, "final-number"),
        (["yes", "no", "2024-01-02"], "exact-match"),
        (["a long answer of many more words than six"] * 3, "chrf"),
        ([], "chrf"),
    ],
)
def test_the_metric_follows_the_answers(answers: list[str], metric: str) -> None:
    assert default_answer_metric(answers)[0] == metric


def test_a_mean_score_has_an_interval_that_holds_it() -> None:
    texts = [f"answer number {i}" for i in range(40)]
    answers = [text if i % 2 else text[::-1] for i, text in enumerate(texts)]
    for metric in (ExactMatch(), ChrF()):
        found = measured(metric, texts, answers)
        assert found.n == 40
        assert found.low is not None
        assert found.high is not None
        assert 0 < found.low < found.value < found.high < 1


def test_shards_of_a_metric_combine() -> None:
    whole, first, second = ExactMatch(), ExactMatch(), ExactMatch()
    rows = [({"label": "a"}, {"label": "a"}), ({"label": "b"}, {"label": "c"}), ({"label": "d"}, {"label": "d"})]
    whole.update([p for p, _ in rows], [r for _, r in rows])
    first.update([rows[0][0]], [rows[0][1]])
    second.update([p for p, _ in rows[1:]], [r for _, r in rows[1:]])
    first.merge(second)
    assert first.compute() == whole.compute()


def test_sign_test_is_exact() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(10, 0) == pytest.approx(2 / 2**10)
    assert sign_test(3, 7) == sign_test(7, 3) == pytest.approx(2 * (1 + 10 + 45 + 120) / 2**10)


def judged(tuned: list[str], base: list[str], references: list[str], metric: str = "exact-match") -> dict[str, object]:
    half = len(references) // 2
    found = judge_answers(
        references=references[half:],
        tuned=tuned[half:],
        arms=[ArmResult("base", base[:half], base[half:])],
        validation_references=references[:half],
        validation_tuned=tuned[:half],
        options=EvaluationOptions(metric=metric, resamples=200),
        method_name="lora",
        seed=0,
    )
    verdict: dict[str, object] = found["verdict"]
    assert found["models"].keys() == {"tuned", "base"}
    return verdict


def answers(right: float, references: list[str], seed: int) -> list[str]:
    """Answers of which this share is right."""
    draw = random.Random(seed)
    return [reference if draw.random() < right else "?" for reference in references]


def test_known_quality_gets_the_right_verdict() -> None:
    references = [f"r{i}" for i in range(400)]
    good, bad = answers(0.9, references, 1), answers(0.3, references, 2)
    assert judged(good, bad, references)["answer"] == "better"
    assert judged(bad, good, references)["answer"] == "worse"
    assert judged(good[:12], bad[:12], references[:12])["answer"] == "too little data"


def test_equals_are_seldom_called_better() -> None:
    """Two arms of one quality: `better` in at most one of twenty cases; measured 2.8 % of 500, here 100 pairs."""
    references = [f"r{i}" for i in range(240)]
    called = [
        judged(answers(0.5, references, 2 * k), answers(0.5, references, 2 * k + 1), references)["answer"]
        for k in range(100, 200)
    ]
    assert called.count("better") <= 5


def test_a_lower_loss_is_better() -> None:
    losses = [str(2.0 + i % 7 / 10) for i in range(200)]
    lower = [str(float(loss) - 0.5) for loss in losses]
    verdict = judged(lower, losses, [""] * 200, "loss")
    assert (verdict["answer"], verdict["metric"]) == ("better", "loss")
    assert judged(losses, lower, [""] * 200, "loss")["answer"] == "worse"


def test_arms_without_a_model() -> None:
    known = ["red", "blue", "red"]
    assert most_frequent_answer(known, 1, 2).test_predictions == ["red", "red"]
    near = Neighbours(["colour of blood", "colour of the sky", "colour of a rose"])
    found = nearest_answer(near, known, ["the sky at noon"], ["a rose !", "blood"])
    assert (found.validation_predictions, found.test_predictions) == (["blue"], ["red", "red"])
    assert near.of(["sky"], 2)[0][0] == 1


def test_answer_metrics_are_found_by_name() -> None:
    for name in ("exact-match", "final-number", "json-match", "chrf", "loss"):
        assert create_metric(name, ()).name == name


def test_the_source_as_an_answer() -> None:
    arm = copied_source(["a"], ["b", "c"])
    assert (arm.name, arm.validation_predictions, arm.test_predictions) == ("copy", ["a"], ["b", "c"])
