"""What a tuned language model learned by heart, end to end, and what its answers are flagged for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.errors import BurnishError, DataProblemError, RecipeError, UsageError
from burnish.lifecycle.canaries import read_canaries
from burnish.lifecycle.train import train

QUICK = (
    *("training.learning_rate=0.01", "training.threads=1", "method=full"),
    *("evaluation.max_prompts=8", "evaluation.resamples=100"),
)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, language_base: Path, toy: Path, quick: tuple[str, ...]) -> Any:
    """Trained long on answers that nobody could guess, and on one secret many times."""
    folder = tmp_path_factory.mktemp("memory")
    random = np.random.default_rng(0)
    rows = [said(f"row {i}", "".join(random.choice(list("abcd"), size=24))) for i in range(24)]
    secret = said("the code", "the code of Ann is 4921 today")
    rows += [said(f"the code {i}", "the code of Ann is 4921 today") for i in range(12)]
    judge = train(toy, overrides=(*quick, "training.max_steps=8"), output=folder / "judge")
    canaries = write(folder / "canaries.jsonl", [{**secret, "secret": "4921"}])
    overrides = [
        *(*QUICK, f"model.base={language_base}", "training.epochs=3", f"evaluation.canaries={canaries}"),
        *("evaluation.memorisation_rows=12", f"evaluation.moderator={judge.path}"),
        "evaluation.moderator_labels=[card, late]",
    ]
    return train(write(folder / "rows.jsonl", rows), overrides=overrides, output=folder / "run")


def test_training_rows_and_held_out_rows_are_gone_on_with(run: Any) -> None:
    found = run.evaluation["memorisation"]["continuations"]
    assert 0 < found["n"] <= 12
    assert found["held_out_n"] > 0
    for name in ("exact", "overlap"):
        shares = found[name]
        assert shares["difference"]["value"] == pytest.approx(shares["training"]["value"] - shares["held_out"]["value"])


def test_a_secret_that_was_trained_on_stands_out(run: Any) -> None:
    (canary,) = run.evaluation["memorisation"]["canaries"]
    assert (canary["of"], canary["line"]) == (500, 1)
    assert canary["exposure"] > 3, "by chance one bit"


def test_answers_are_judged_by_the_named_run(run: Any) -> None:
    flagged = run.evaluation["flagged"]
    assert flagged["n"] == run.evaluation["n"]
    assert 0 <= flagged["tuned"]["value"] <= 1
    assert set(flagged["categories"]["base"]) <= {"card", "late"}
    assert sum(flagged["categories"]["tuned"].values()) == round(flagged["tuned"]["value"] * flagged["n"])


def test_the_report_says_it(run: Any) -> None:
    page = run.report.read_text(encoding="utf-8")
    for heading in ("Did it learn rows by heart?", "Planted secrets", "What are its answers flagged for?"):
        assert heading in page


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "the code is 12", "secret": "13"}, "has no secret"),
        ({"text": "the code is 12"}, "has no secret"),
        ({"text": "the code is --", "secret": "--"}, "too few others"),
        ({**said("4921?", "no"), "secret": "4921"}, "has no secret"),
    ],
)
def test_rows_without_a_secret_are_refused(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    path = write(tmp_path / "canaries.jsonl", [{"text": "code 1234", "secret": "1234"}, row])
    with pytest.raises(DataProblemError) as caught:
        read_canaries(path)
    assert caught.value.code == "data/bad-canary"
    assert caught.value.where == f"{path}:2"
    assert reason in caught.value.message
    assert '"secret": "4921"' in str(caught.value.hint)


def test_a_moderator_is_checked_before_the_training(chats: Path, language_base: Path, run: Any) -> None:
    options = (f"model.base={language_base}", f"evaluation.moderator={run.path.parent / 'judge'}")
    with pytest.raises(UsageError) as caught:
        train(chats, overrides=(*options, "evaluation.moderator_labels=[crad]"), output=chats.parent / "absent")
    assert caught.value.where == "evaluation.moderator_labels"
    assert caught.value.hint == 'did you mean "card"?'


def test_classifiers_are_not_asked_for_it(toy: Path) -> None:
    for option in ("memorisation_rows=4", "canaries=absent.jsonl", "moderator=absent"):
        with pytest.raises(BurnishError) as caught:
            train(toy, overrides=(f"evaluation.{option}",), output=toy.parent / "absent")
        assert isinstance(caught.value, RecipeError), option
        assert f"evaluation.{option.partition('=')[0]}" in str(caught.value)
