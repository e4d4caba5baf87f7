"""Numbers and texts as people read them."""

from __future__ import annotations

import math

import pytest

from burnish.evaluation import wording
from burnish.evaluation.wording import TIED


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümläut 漢字 👍🏽", "plain ümläut 漢字 👍🏽"),
        ("👩\u200d💻", "👩\u200d💻"),  # a joiner holds the emoji together
        ("a\nb\tc\rd\x1b[31m", "a ↵ b⇥c\\rd\\x1b[31m"),
        ("\u202eright to left", "\\u202eright to left"),
        ("half \ud83d pair", "half \\ud83d pair"),
        (None, "None"),
    ],
)
def test_control_characters_are_made_visible(text: object, shown: str) -> None:
    assert wording.visible(text) == shown


def test_a_text_is_cut_to_its_limit() -> None:
    assert wording.visible("x" * 11, 10) == "x" * 9 + "…"
    assert wording.visible("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(1234, "rows", "1,234 rows"), (1, "rows", "1 row"), (0, "rows", "0 rows"), (2.5, "", "2.50"), (None, "rows", "–")],
)
def test_counts(value: float | None, unit: str, shown: str) -> None:
    assert wording.count(value, unit) == shown


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("accuracy", 0.9312, f"93.1{TIED}%"),
        ("recall[card not working]", 1, f"100.0{TIED}%"),
        ("cost", 12.3456, "12.35"),
        ("accuracy", math.nan, "–"),
        ("accuracy", "0.9", "–"),
        ("accuracy", True, "–"),
    ],
)
def test_values_of_metrics(metric: str, value: object, shown: str) -> None:
    assert wording.figure(metric, value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0002, "p < 0.001"), (0.0312, "p = 0.031"), (0.25, "p = 0.25"), (1, "p = 1.00"), (None, "p = –")],
)
def test_p_values(value: float | None, shown: str) -> None:
    assert wording.p_value(value).replace(TIED, " ") == shown


def test_a_difference_has_its_sign_and_its_unit() -> None:
    assert wording.signed("accuracy", -0.012) == f"−1.2{TIED}points"
    assert wording.signed("cost", 3.0) == "+3"


@pytest.mark.parametrize(
    ("value", "shown"), [(999, "999 B"), (1_500, "1.5 kB"), (2_500_000, "2.5 MB"), (7.1e9, "7.1 GB"), (None, "–")]
)
def test_sizes(value: float | None, shown: str) -> None:
    assert wording.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(4.21, "4.2 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (59.99, "1 min 0 s"), (None, "–")]
)
def test_durations(value: float | None, shown: str) -> None:
    assert wording.duration(value) == shown


@pytest.mark.parametrize(
    ("test", "name"), [("McNemar", "McNemar"), ("permutation", "permutation test"), (None, "sign test")]
)
def test_the_name_of_a_test(test: str | None, name: str) -> None:
    assert wording.name_of_test({"test": test} if test else {}) == name


def test_a_spread_over_seeds() -> None:
    spread = {"metric": "accuracy", "seeds": 3, "mean": 0.912, "deviation": 0.004, "gain": 0.011}
    shown = wording.over_seeds(spread | {"gain_deviation": 0.005, "same_rows": False}).replace(TIED, " ")
    assert shown == (
        "accuracy 91.2 % on average over 3 seeds, standard deviation 0.4 points; gain +1.1 points, standard deviation "
        "0.5 points; each seed drew its own test rows"
    )
