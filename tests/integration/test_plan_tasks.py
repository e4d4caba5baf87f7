"""A plan of other tasks: a table, tagged tokens whose head starts at the solved probe, and conversations."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from burnish.lifecycle import advise, rehearse
from burnish.lifecycle.advise import plan


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are enough to be judged on, and few steps to be a rehearsal."""
    monkeypatch.setattr(rehearse, "FEW_JUDGED", 5)
    monkeypatch.setattr(advise, "STEPS", 4)


def test_of_a_table_the_trees_are_an_arm(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as stream:
        rows = [[i % 13, (i * 7) % 11, "uv"[i % 2], "xy"[i % 13 > 6]] for i in range(160)]
        csv.writer(stream).writerows([["first", "second", "third", "target"], *rows])
    found = plan(path, overrides=["task=tabular", "training.threads=1", "data.deduplicate=false"])

    assert {"mean", "linear", "trees"} == set(found["arms"])
    assert found["answer"] == "use a classic baseline"
    assert found["curve"] == {"points": [], "doubling": None}
    assert found["cost"]["forecast"] is None


def test_tagged_tokens_start_where_the_probe_is_solved(
    toy_rows: list[tuple[str, str]], quick: Sequence[str], tmp_path: Path
) -> None:
    path = tmp_path / "tags.jsonl"
    tagged = [
        {"tokens": text.split(), "tags": ["B-money" if word in ("refund", "money") else "O" for word in text.split()]}
        for text, _ in toy_rows[:120]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in tagged), encoding="utf-8")
    found = plan(path, overrides=[*quick, "training.learning_rate=1e-5"])

    assert {"majority", "dictionary", "base-probe"} == set(found["arms"])
    assert found["metric"] == "entity-f1"
    assert found["rehearsal"]["value"] == pytest.approx(found["arms"]["base-probe"]["value"], abs=0.35)


def test_of_conversations_the_base_answers_with_and_without_examples(chats: Path, language_base: Path) -> None:
    overrides = [f"model.base={language_base}", "method=lora", "training.threads=1", "evaluation.max_prompts=8"]
    found = plan(chats, overrides=overrides)

    assert {"majority", "nearest-answer", "base", "base-few-shot"} == set(found["arms"])
    assert found["use"] == "nearest-answer"
    assert found["data"]["measured_on"]["judged"] == [18]
