"""An error says what happened, where, and what to do, on a terminal and as JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish import errors
from burnish.errors import BurnishError, InterruptedRunError, excerpt, nearest

EXIT_CODES = {
    "BurnishError": 2,
    "UsageError": 2,
    "RecipeError": 2,
    "DataReadError": 2,
    "DataProblemError": 1,
    "ModelError": 2,
    "LicenseError": 1,
    "RunError": 2,
    "GoalNotReachedError": 1,
    "ExportError": 1,
    "RegistryError": 2,
    "PromotionRefusedError": 1,
    "ServiceError": 2,
    "DivergedError": 3,
    "SelfTestError": 3,
    "OutOfMemoryError": 4,
    "DiskFullError": 5,
    "DamagedStoreError": 6,
    "LostRankError": 75,
    "LeaseLostError": 75,
    "TrainerDiedError": 75,
    "StoppedRunError": 0,
}


def test_every_class_has_the_exit_code_of_the_command_line() -> None:
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, BurnishError) and cls is not InterruptedRunError
    }
    assert {name: cls.exit_code for name, cls in classes.items()} == EXIT_CODES


@pytest.mark.parametrize(("signal_number", "exit_code"), [(2, 130), (15, 143)])
def test_an_interrupted_run_exits_with_128_and_the_signal(signal_number: int, exit_code: int) -> None:
    error = InterruptedRunError("engine/interrupted", "stopped", signal_number=signal_number)
    assert error.exit_code == exit_code
    assert BurnishError.exit_code == 2


def test_the_text_starts_with_the_place_and_ends_with_the_hint() -> None:
    error = BurnishError(
        "data/unknown-label",
        '"refnd" is not one of the labels',
        where="train.csv:12",
        known=["cancel", "refund"],
        hint='did you mean "refund"?',
        details=["train.csv:12", "train.csv:90"],
    )
    assert str(error).splitlines() == [
        'train.csv:12: "refnd" is not one of the labels  [data/unknown-label]',
        "  train.csv:12",
        "  train.csv:90",
        "  known: cancel, refund",
        '  hint: did you mean "refund"?',
    ]


def test_what_is_not_known_leaves_no_trace_in_the_text() -> None:
    assert str(BurnishError("run/locked", "locked")) == "locked  [run/locked]"


def test_as_dict_is_json_and_complete() -> None:
    error = BurnishError("a/b", "m", where="f:1", known=("x",), hint="h", details=("d",))
    assert json.loads(json.dumps(error.as_dict())) == {
        "code": "a/b",
        "message": "m",
        "where": "f:1",
        "known": ["x"],
        "hint": "h",
        "details": ["d"],
    }


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("epoch", ["seed", "epochs"], "epochs"),
        ("EPOCHS", ["seed", "epochs"], "epochs"),
        ("Macro-F1", ["accuracy", "macro-F1"], "macro-F1"),
        ("zebra", ["seed", "epochs"], None),
        ("epoch", [], None),
    ],
)
def test_nearest_is_the_known_word_in_its_own_spelling(word: str, known: list[str], expected: str | None) -> None:
    assert nearest(word, known) == expected


def test_an_excerpt_is_short_and_marked() -> None:
    assert excerpt("x" * 60) == "x" * 60
    assert excerpt("x" * 61) == "x" * 59 + "…"


@given(st.text())
def test_an_excerpt_never_moves_a_terminal(text: str) -> None:
    shown = excerpt(text)
    assert shown.isprintable()
    assert "\x1b" not in shown
    assert "\n" not in shown
