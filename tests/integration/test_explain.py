"""Explanations: what each word adds to a label's probability, for texts and pairs, complete and the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import burnish
from burnish.cli.main import main
from burnish.errors import UsageError
from burnish.serving import explain as room
from burnish.settings import settings

TEXT = "where is my card, lost on it"


@pytest.fixture(scope="module")
def run(toy: Path, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Any:
    overrides = (*quick, "evaluation.robustness_rows=0")
    return burnish.train(toy, overrides=overrides, output=tmp_path_factory.mktemp("runs") / "run")


def test_the_words_add_up_to_the_change_of_the_probability(run: Any) -> None:
    (why,) = run.explain([TEXT])
    (said,) = run.predict([TEXT])
    assert why["label"] == said["label"]
    assert why["probability"] == pytest.approx(said["probability"], abs=1e-4)
    assert "".join(word["word"] for word in why["words"]) == TEXT.replace(" ", "")
    assert {word["column"] for word in why["words"]} == {"text"}
    total = sum(word["gain"] for word in why["words"])
    assert why["error"] == pytest.approx(total - (why["probability"] - why["blank"]), abs=1e-9)
    assert abs(why["error"]) < 0.02
    assert run.explain([TEXT]) == [why]


def test_a_machine_that_predicts_in_bf16_explains_the_exact_model(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = run.explain([TEXT])
    monkeypatch.setenv("BURNISH_PRECISION", "bf16")
    settings.cache_clear()
    other = burnish.load(run.path)
    other.predict([TEXT])
    found = other.explain([TEXT])
    monkeypatch.undo()
    settings.cache_clear()
    assert found == exact


def test_the_word_that_gives_the_label_away_adds_most(run: Any) -> None:
    """The toy rows have one word each that decides; of the labels learned, it is found in most."""
    texts = ["where is my refund on it", "my the money where is", "lost card is on a", "where late is it"]
    keys = {"refund", "money", "card", "late", "cash", "transfer"}
    first = [max(why["words"], key=lambda word: word["gain"])["word"] for why in run.explain(texts)]
    assert sum(word in keys for word in first) >= 3


def test_pairs_say_which_text_a_word_is_of(
    write_csv: Callable[..., Path], toy_rows: list[tuple[str, str]], quick: tuple[str, ...], tmp_path: Path
) -> None:
    rows = [(text, toy_rows[i - 1][0], label) for i, (text, label) in enumerate(toy_rows[:60])]
    path = write_csv(rows, header=("first", "second", "label"))
    quicker = (*quick, "task=text-pair-classification", "training.max_steps=4", "evaluation.robustness_rows=0")
    run = burnish.train(path, overrides=quicker, output=tmp_path / "run")
    (why,) = run.explain([{"first": "my card", "second": "is late"}])
    assert [(w["column"], w["word"]) for w in why["words"]] == [
        *(("first", "my"), ("first", "card"), ("second", "is"), ("second", "late"))
    ]
    assert abs(why["error"]) < 0.02


def test_the_command_says_it(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run.path), "--text", TEXT, "--explain"]) == 0
    printed = capsys.readouterr().out
    assert "points of probability:" in printed
    assert "points unexplained" in printed
    assert main(["predict", str(run.path), "--text", TEXT, "--explain", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["predictions"]
    assert answer["explanation"] == run.explain([TEXT])[0]


def test_other_tasks_are_not_explained() -> None:
    with pytest.raises(UsageError) as caught:
        room.require_explained("tabular")
    assert caught.value.code == "predict/no-explanation"
    assert caught.value.where == "--explain"
    assert caught.value.known == room.EXPLAINED


def test_without_captum_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        room.require_explained("text-classification")
    assert caught.value.code == "predict/not-installed"
    assert caught.value.hint == "pip install 'burnish[explain]'"
