"""`burnish datasets` and `burnish forget`, as a user: from two trainings to a person forgotten."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.settings import settings

Burnish = Callable[..., Any]


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BURNISH_RUNS", str(tmp_path / "runs"))
    settings.cache_clear()
    return tmp_path


def test_from_training_to_forgetting(
    burnish: Burnish,
    own_home: Path,
    toy_rows: list[tuple[str, str]],
    solved: tuple[str, ...],
    sets: Callable[[Sequence[str]], list[str]],
) -> None:
    path = own_home / "tickets.csv"
    with path.open("w", newline="") as stream:
        rows = [(text, label, f"u{i % 60}") for i, (text, label) in enumerate(toy_rows)]
        csv.writer(stream).writerows([("body", "intent", "user"), *rows])
    assert burnish("datasets", "list").out.startswith("no data versions yet")
    trained = burnish("train", path, "--json", *sets([*solved, "data.keep_columns=[user]"]))
    assert trained.code == 0
    run = json.loads(trained.out)["id"]

    listed = json.loads(burnish("datasets", "list", "--json").out)["datasets"]
    assert [(v["name"], v["rows"], v["runs"], v["forgotten"]) for v in listed] == [("tickets", 180, [run], None)]
    version = listed[0]["id"]
    shown = burnish("datasets", "show", version[:8])
    assert shown.code == 0
    assert f"run      {run} (finished)" in shown.out
    assert "columns  label, text, user" in shown.out

    before = burnish("datasets", "export", version[:8])
    assert len(before.out.splitlines()) == 180
    counted = burnish("forget", "--where", "user=u7")
    assert (counted.code, counted.err) == (1, "nothing was removed yet; repeat the command with --yes\n")
    assert burnish("datasets", "export", version[:8]).out == before.out
    done = burnish("forget", "--where", "user=u7", "--yes", "--json")
    assert done.code == 0
    [entry] = json.loads(done.out)["versions"]
    assert (entry["id"], entry["rows"], [r["id"] for r in entry["runs"]]) == (version, 3, [run])
    assert burnish("datasets", "export", version[:8]).code == 2

    changed = burnish("datasets", "show", entry["successor"])
    assert f"parent   {version}" in changed.out
    rest = own_home / "rest.jsonl"
    exported = burnish("datasets", "export", entry["successor"], "--output", rest)
    assert (exported.code, exported.out) == (0, f"{rest}\n")
    assert len(rest.read_text().splitlines()) == 177
    assert burnish("datasets", "export", entry["successor"], "--output", rest).code == 2
    again = burnish("train", path, *sets([*solved, "data.keep_columns=[user]"]))
    assert again.code == 1
    assert "[data/forgotten-rows]" in again.err
    assert burnish("forget", "--where", "user=u7", "--yes").out.startswith("no data version has such a row")


def test_difference_of_two_versions(
    burnish: Burnish, own_home: Path, toy_rows: list[tuple[str, str]], solved: tuple[str, ...], sets: Any
) -> None:
    path = own_home / "tickets.csv"
    for rows in (toy_rows, [*toy_rows[1:], ("a wholly new row about a refund", "refund")]):
        path.write_text("body,intent\n" + "".join(f"{text},{label}\n" for text, label in rows))
        assert burnish("train", path, *sets(solved)).code == 0
    new, old = json.loads(burnish("datasets", "list", "--json").out)["datasets"]
    manifest = json.loads(burnish("datasets", "show", new["id"], "--json").out)
    assert manifest["parents"] == [old["id"]]
    shown = burnish("datasets", "diff", old["id"], new["id"])
    assert "1 added, 1 removed, 0 relabelled" in shown.out
    assert "  + a wholly new row about a refund  refund\n" in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["forget", "--where", "user"], 2, "[data/bad-condition]"),
        (["forget", "--where", "user=7"], 2, "[data/no-such-column]"),
        (["forget"], 2, "--where"),
        (["datasets"], 2, "ACTION"),
        (["datasets", "show", "abc"], 2, "[data/version-not-found]"),
    ],
)
def test_what_is_refused(burnish: Burnish, own_home: Path, arguments: list[str], code: int, said: str) -> None:
    shown = burnish(*arguments)
    assert (shown.code, shown.out) == (code, "")
    assert said in shown.err
