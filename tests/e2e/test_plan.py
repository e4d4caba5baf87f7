"""`burnish plan` and `burnish curve` as a person types them: an endpoint as an arm, pages, and what is refused."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from burnish.lifecycle import rehearse
from burnish.lifecycle.own import Own
from burnish.lifecycle.recipe_of import recipe_of
from burnish.lifecycle.train import read_rows
from burnish.types import Split

Burnish = Callable[..., Any]
Sets = Callable[[Sequence[str]], list[str]]


@pytest.fixture
def knowing() -> Iterator[tuple[str, list[str]]]:
    """Answers with the label of the nearest example; its address and the texts it was sent."""
    seen: list[str] = []

    class Knowing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][1]["content"]
            seen.append(text)
            label = text.rsplit("\n\nText: ", 1)[0].rsplit("Answer: ", 1)[1]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": f"It is {label}."}}]}).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Knowing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", seen
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_asked_about_validation_rows_with_training_rows_and_sees_no_test_row(
    burnish: Burnish,
    knowing: tuple[str, list[str]],
    toy: Path,
    solved: Sequence[str],
    sets: Sets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rehearse, "FEW_JUDGED", 10)
    url, seen = knowing
    page = tmp_path / "plan.html"
    words = ("plan", toy, "--endpoint", url, "--model", "m", "--html", page, "--json", *sets(solved))
    shown = burnish(*words)
    assert shown.code == 0
    found = json.loads(shown.out)
    assert found["arms"]["endpoint"]["n"] == len(seen) == 27
    assert found["arms"]["endpoint"]["value"] > 0.6
    assert "The endpoint, asked with examples" in " ".join(found["reasons"])
    data = read_rows(recipe_of(toy, test=None, overrides=[], seed=None)[0], Own())[2]
    sent = {line.removeprefix("Text: ") for text in seen for line in text.splitlines() if line.startswith("Text: ")}
    assert not sent & {example.row["text"] for example in data.splits[Split.TEST]}
    assert "<script" not in page.read_text()


def test_what_cannot_be_planned_is_refused_before_anything_is_measured(
    burnish: Burnish, toy: Path, solved: Sequence[str], sets: Sets, tmp_path: Path
) -> None:
    choices = tmp_path / "choices.csv"
    with choices.open("w", newline="") as stream:
        rows = [[f"u{i % 20}", f"item number {i % 7}", str(i)] for i in range(100)]
        csv.writer(stream).writerows([["user", "item", "time"], *rows])
    shown = burnish("plan", choices, "--set", "task=recommendation", *sets(solved[:1]))
    assert (shown.code, shown.out) == (2, "")
    assert f"{choices}: recommendation is not rehearsed" in shown.err
    assert "[plan/not-planned]" in shown.err
    assert f"`burnish train {choices}`" in shown.err

    table = tmp_path / "table.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([["a", "b", "c", "target"], *([i, i % 7, i % 3, "xy"[i % 2]] for i in range(80))])
    shown = burnish("plan", table, "--from-scratch", "--set", "task=tabular")
    assert (shown.code, shown.out) == (2, "")
    assert "--from-scratch: a tabular is not tried from scratch  [plan/not-from-scratch]" in shown.err
    assert "known: text-classification" in shown.err
    words = ("plan", table, "--endpoint", "http://127.0.0.1:1/v1", "--set", "task=tabular")
    shown = burnish(*words)
    assert (shown.code, shown.out) == (2, "")
    assert f"{table}:" in shown.err
    assert "these rows are neither  [plan/not-asked]" in shown.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--points", "2"), "curve/too-few-points", "--points: a law is drawn through 3 points or more, not 2"),
        (
            ("--share", "0.01"),
            "curve/too-few-rows",
            "--share: 1 training rows with 3 labels hold no 3 subsets of different sizes",
        ),
        (("--share", "1.5"), "curve/bad-share", "--share: 1.5 is no share of the rows"),
    ],
)
def test_a_curve_that_makes_no_sense_is_refused(
    burnish: Burnish, toy: Path, words: tuple[str, str], code: str, said: str
) -> None:
    shown = burnish("curve", toy, *words)
    assert (shown.code, shown.out) == (2, "")
    assert f"{said}  [{code}]" in shown.err


def test_a_folder_with_another_curve_is_left_alone(
    burnish: Burnish, toy: Path, solved: Sequence[str], sets: Sets, tmp_path: Path
) -> None:
    (tmp_path / "curve.json").write_text('{"key": "another"}')
    shown = burnish("curve", toy, "--output", tmp_path, *sets(solved))
    assert (shown.code, shown.out) == (2, "")
    assert f"{tmp_path}: this folder holds a curve of other rows or settings  [curve/other-curve]" in shown.err
