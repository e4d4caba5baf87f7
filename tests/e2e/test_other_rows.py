"""Rows of tasks that are not trained yet: recognised, checked with file and line, and no promise made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Burnish = Callable[..., Any]
TURNS = [{"role": "user", "content": "hi {}"}, {"role": "assistant", "content": "hello {}"}]


def chats(count: int) -> list[dict[str, object]]:
    return [
        {"messages": [{**turn, "content": turn["content"].format(i)} for turn in TURNS], "number": i}
        for i in range(count)
    ]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    rows = chats(40)
    rows[5] = rows[4]
    rows[7] = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}], "number": 7}
    return write(tmp_path / "chat.jsonl", rows)


def test_check(burnish: Burnish, chat: Path) -> None:
    shown = burnish("check", chat)
    assert shown.code == 1
    assert "as OpenAI's fine-tuning files do. From such rows a chat model learns" in shown.err
    assert f"{chat}:8: turn 2: the assistant says nothing\n" in shown.out
    assert f"{chat}:6: the same values as {chat}:5\n" in shown.out
    found = json.loads(burnish("check", chat, "--json").out)
    assert (found["format"], found["task"], found["rows"]) == ("messages", "chat", 40)
    assert sum(found["splits"].values()) == 38


@pytest.mark.parametrize("command", ["init", "train"])
def test_no_recipe_and_no_training(burnish: Burnish, tmp_path: Path, runs: Path, command: str) -> None:
    graded = [{"prompt": f"what is {i} and {i}?", "reference answer": str(2 * i)} for i in range(40)]
    path = write(tmp_path / "graded.jsonl", graded)
    shown = burnish(command, path, "--output", tmp_path / "new")
    assert (shown.code, shown.out) == (1, "")
    assert f"{path}: holds rows for the task reinforcement" in shown.err
    assert "does not train on them yet  [data/not-trained-yet]" in shown.err
    assert "A prompt without an answer, and what answers can be graded with" in shown.err
    assert f"`burnish check {path}`" in shown.err
    assert not (tmp_path / "new" / "recipe.yaml").exists()
    assert not (tmp_path / "new").is_file()


def test_several_files(burnish: Burnish, tmp_path: Path) -> None:
    for part in range(3):
        write(tmp_path / f"part-{part}.jsonl", chats(40)[part * 13 : part * 13 + 13])
    found = json.loads(burnish("check", tmp_path / "part-*.jsonl", "--json").out)
    assert (found["files"], found["rows"]) == ([f"{tmp_path}/part-{part}.jsonl" for part in range(3)], 39)


def test_files_of_two_formats(burnish: Burnish, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", chats(20))
    write(tmp_path / "b.jsonl", [{"messages": [{"from": "human", "value": "hi"}]}] * 20)
    shown = burnish("check", tmp_path / "*.jsonl")
    assert shown.code == 2
    assert f'{tmp_path}/b.jsonl: holds rows of the format "sharegpt"; the files before it hold "messages"' in shown.err


def test_a_pattern_trains_on_its_files(burnish: Burnish, solved: tuple[str, ...], tmp_path: Path) -> None:
    for part in range(2):
        rows = [
            {"text": f"{part} where is the {word} {i * 2654435761 % 2**32:08x}", "label": word}
            for i in range(12)
            for word in ("card", "cash")
        ]
        write(tmp_path / f"part-{part}.jsonl", rows)  # type: ignore[arg-type]
    sets = [word for override in solved for word in ("--set", override)]
    shown = burnish("train", tmp_path / "part-*.jsonl", "--output", tmp_path / "run", *sets)
    assert shown.code == 0, shown.err
    recipe = (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
    assert "part-0.jsonl" in recipe
    assert "*" not in recipe.split("model:")[0].split("data:")[-1]


def test_rows_of_a_table_are_not_alike_for_saying_little(burnish: Burnish, tmp_path: Path) -> None:
    services = [f"service{k}" for k in range(12)]
    rows = ["".join(f"{'yes' if (i * 37 + k) % 11 else 'no'}," for k in range(12)) + "ab"[i % 2] for i in range(200)]
    (tmp_path / "churn.csv").write_text(
        "age," + ",".join(services) + ",class\n" + "".join(f"{18 + i % 60},{row}\n" for i, row in enumerate(rows))
    )
    found = json.loads(burnish("check", tmp_path / "churn.csv", "--json").out)
    assert (found["task"], found["warnings"]) == ("tabular", [])
    assert found["splits"] == {"train": 140, "validation": 30, "test": 30}
