"""Rows become tokens once; the second time they come from the cache, and are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.data.options import DataOptions
from burnish.data.prepare import PreparedData, prepare
from burnish.engine.rows import EncodedRows
from burnish.errors import UsageError
from burnish.lifecycle.encode import encode_splits
from burnish.settings import settings
from burnish.task.text_classification import TextClassification
from burnish.types import Refusal, Silent, Split

Make = Callable[..., Any]
WORDS = ("card", "cash", "late", "lost", "money")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BURNISH_THREADS", "2")
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    lines = [f"{WORDS[i % 5]} {WORDS[i // 5 % 5]} {'my ' * (i % 7)}refund {i},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return prepare(DataOptions(train="rows.csv"), TextClassification.columns, base_folder=tmp_path, seed=1)


@pytest.fixture
def task(make_tokenizer: Make, data: PreparedData) -> TextClassification:
    return TextClassification(make_tokenizer(), data.labels, max_length=9)


def same(one: dict[Split, EncodedRows], other: dict[Split, EncodedRows]) -> bool:
    return all(
        np.array_equal(one[split].arrays[name], other[split].arrays[name])
        for split in Split
        for name in one[split].arrays
    )


def calls_of(task: TextClassification, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    encode = task.encode
    monkeypatch.setattr(task, "encode", lambda row: calls.append(row) or encode(row))  # type: ignore[func-returns-value]
    return calls


def test_the_second_time_nothing_is_encoded(
    task: TextClassification, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(task, monkeypatch)
    first, problems = encode_splits(task, data, Silent(), ours=True)
    assert len(calls) == 60
    second, again = encode_splits(task, data, Silent(), ours=True)
    assert len(calls) == 60
    assert same(first, second)
    for found in (first, second):  # what was encoded just now lies on the disk, too
        assert isinstance(found[Split.TRAIN].arrays["tokens"].base, np.memmap)
    assert problems == again != []  # rows that were cut are told each time
    assert {problem.code for problem in problems} == {"data/truncated"}


def test_threads_change_nothing(task: TextClassification, data: PreparedData) -> None:
    parallel, _ = encode_splits(task, data, Silent(), ours=True)
    alone, _ = encode_splits(task, data, Silent(), ours=False)
    assert same(parallel, alone)


def test_other_settings_are_other_tokens(
    make_tokenizer: Make, task: TextClassification, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_splits(task, data, Silent(), ours=True)
    longer = TextClassification(make_tokenizer(), data.labels, max_length=12)
    calls = calls_of(longer, monkeypatch)
    encode_splits(longer, data, Silent(), ours=True)
    assert len(calls) == 60


def test_a_task_of_the_callers_is_asked_every_time(
    task: TextClassification, data: PreparedData, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(task, monkeypatch)
    for _ in range(2):
        encode_splits(task, data, Silent(), ours=False)
    assert len(calls) == 120
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_done_without(
    task: TextClassification, data: PreparedData, home: Path
) -> None:
    home.write_text("a file in the way", encoding="utf-8")
    first, _ = encode_splits(task, data, Silent(), ours=True)
    second, _ = encode_splits(task, data, Silent(), ours=True)
    assert same(first, second)


def test_a_row_that_cannot_be_encoded_is_named(
    task: TextClassification, data: PreparedData, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "encode", lambda _: Refusal("task/no-tokens", "no tokens"))
    with pytest.raises(UsageError) as caught:
        encode_splits(task, data, Silent(), ours=True)
    assert caught.value.code == "task/no-tokens"
    assert "rows.csv:2" in str(caught.value)
    assert not (home / "cache").exists()
