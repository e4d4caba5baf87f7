"""Labels that are probably wrong, on vectors whose classes are known."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest

from burnish.data.doctor.wrong_labels import out_of_fold, suspicious, wrong_labels
from burnish.errors import UsageError

WORDS = ("north", "east", "south", "west")
needs_cleanlab = pytest.mark.skipif(
    importlib.util.find_spec("cleanlab") is None, reason="the extra `audit` is not installed"
)


def four_directions(rows: int, spread: float) -> tuple[Any, Any]:
    generator = np.random.default_rng(2)
    targets = generator.integers(4, size=rows)
    vectors = np.eye(4, 12)[targets] + spread * generator.standard_normal((rows, 12))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), targets


def texts(rows: int) -> list[str]:
    generator = np.random.default_rng(3)
    return ["".join(map(chr, generator.integers(97, 123, size=30))) for _ in range(rows)]


@needs_cleanlab
def test_flipped_labels_are_found_with_their_place_and_a_better_label(subject: Any) -> None:
    vectors, targets = four_directions(400, spread=0.15)
    given = targets.copy()
    given[:40] = (given[:40] + 1) % 4
    (found,) = wrong_labels(subject(texts(400), [WORDS[k] for k in given]), vectors)
    lines = {place.line - 2 for place in found.places}
    assert len(lines & set(range(40))) >= 36
    assert len(lines) <= 44
    assert f'rather "{WORDS[targets[min(lines)]]}"' in " ".join(found.details)


@needs_cleanlab
def test_clean_labels_are_not_accused(subject: Any) -> None:
    vectors, targets = four_directions(400, spread=0.1)
    assert list(wrong_labels(subject(texts(400), [WORDS[k] for k in targets]), vectors)) == []


def test_copies_do_not_vouch_for_each_other() -> None:
    """Ten copies of one row, all with the same wrong label, lie in one fold: nothing there has learned it."""
    vectors, targets = four_directions(200, spread=0.1)
    copies = np.repeat(vectors[:1], 10, axis=0)
    wrong = (targets[0] + 1) % 4
    clusters = np.concatenate([np.arange(200), np.zeros(10, int)])
    everything = np.concatenate([targets, np.full(10, wrong)])
    probabilities = out_of_fold(np.concatenate([vectors, copies]), everything, clusters)
    assert probabilities[200:, wrong].max() < 0.2
    assert np.allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("labels", [None, ["a"] * 20, ["a"] * 18 + ["b"] * 2])
def test_nothing_to_judge(subject: Any, labels: list[str] | None) -> None:
    assert list(wrong_labels(subject(texts(20), labels), np.eye(20, dtype=np.float32))) == []


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(UsageError) as caught:
        suspicious(np.array([0, 1]), np.eye(2))
    assert (caught.value.code, caught.value.where) == ("cli/extra-needed", "--deep")
    assert caught.value.hint == "pip install 'burnish[audit]'"
