"""A training whose rows are read from the disk is the one whose rows are in memory, to the bit."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.data import disk_rows
from burnish.data.disk_rows import DiskRows
from burnish.lifecycle import datasets
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train
from burnish.types import Silent

ToyRows = list[tuple[str, str]]
TABLE = ["training.threads=1", "training.max_steps=8", "training.evaluate_every_steps=4", "evaluation.resamples=200"]
CHAT = ["training.epochs=1", "training.learning_rate=0.01", "evaluation.max_prompts=8", "training.threads=1"]


class Stops(Silent):
    """Ends the process, as far as a training can tell, after the first checkpoint."""

    def note(self, text: str) -> None:
        if text.startswith("saved checkpoint"):
            raise KeyboardInterrupt


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """From its call on few rows are many; it gives how often data was given rows on the disk since then."""
    moved: list[DiskRows] = []

    def many() -> int:
        if not moved:
            monkeypatch.setattr(disk_rows, "LIMIT_BYTES", 0)
            real = datasets.with_rows_on_disk

            def noted(*arguments: Any) -> Any:
                data = real(*arguments)
                moved.extend(rows for rows in data.splits.values() if isinstance(rows, DiskRows))
                return data

            monkeypatch.setattr(datasets, "with_rows_on_disk", noted)
        return len(moved)

    return many


def assert_same(run: Run, other: Run) -> None:
    names = ["predictions.jsonl", "problems.jsonl"]
    names += [str(path.relative_to(run.path)) for path in sorted((run.path / "final").glob("*.safetensors"))]
    for name in names:
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes(), name


def test_classes(toy: Path, quick: tuple[str, ...], tmp_path: Path, on_disk: Callable[[], int]) -> None:
    overrides = [*quick, "training.epochs=2", "data.balance=oversample", "data.noisy_copies=1"]
    run = train(toy, overrides=overrides, output=tmp_path / "run")
    on_disk()
    assert_same(train(toy, overrides=overrides, output=tmp_path / "other"), run)
    assert on_disk() == 3


def test_a_conversation(chats: Path, language_base: Path, tmp_path: Path, on_disk: Callable[[], int]) -> None:
    overrides = [*CHAT, f"model.base={language_base}", "method=lora"]
    run = train(chats, overrides=overrides, output=tmp_path / "run")
    on_disk()
    assert_same(train(chats, overrides=overrides, output=tmp_path / "other"), run)
    assert on_disk() == 3


def test_pairs(toy_rows: ToyRows, quick: tuple[str, ...], tmp_path: Path, on_disk: Callable[[], int]) -> None:
    rows = [{"anchor": a, "positive": b} for (a, _), (b, _) in zip(toy_rows[:120:6], toy_rows[3:123:6], strict=True)]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    overrides = [*quick, "training.epochs=2", "task=embedding", "data.near_duplicates=false"]
    run = train(data, overrides=overrides, output=tmp_path / "run")
    on_disk()
    assert_same(train(data, overrides=overrides, output=tmp_path / "other"), run)
    assert on_disk() == 3


def test_a_table(tmp_path: Path, on_disk: Callable[[], int]) -> None:
    data = tmp_path / "table.csv"
    with data.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["plan", "usage", "left"])
        writer.writerows([("basic", "plus")[n % 2], n * 37 % 101 / 7, ("no", "yes")[n % 3 == 0]] for n in range(120))
    run = train(data, overrides=["task=tabular", "data.columns={target: left}", *TABLE], output=tmp_path / "run")
    on_disk()
    other = train(data, overrides=["task=tabular", "data.columns={target: left}", *TABLE], output=tmp_path / "other")
    assert_same(other, run)
    assert on_disk() == 3


def test_a_run_goes_on_with_them(toy: Path, quick: tuple[str, ...], tmp_path: Path, on_disk: Callable[[], int]) -> None:
    overrides = [*quick, "training.epochs=2", "checkpoint.every_steps=2"]
    whole = train(toy, overrides=overrides, output=tmp_path / "whole")
    on_disk()
    with pytest.raises(KeyboardInterrupt):
        train(toy, overrides=overrides, output=tmp_path / "run", progress=Stops())
    assert_same(train(toy, overrides=overrides, output=tmp_path / "run", resume=True), whole)
    assert on_disk() == 6
