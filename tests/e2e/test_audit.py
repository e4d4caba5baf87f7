"""`burnish audit` with scripted keys: answer, stop, go on, disagree, and train on what was corrected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Burnish = Callable[..., Any]


@pytest.fixture
def tickets(tmp_path: Path, toy_rows: list[tuple[str, str]]) -> Path:
    path = tmp_path / "tickets.csv"
    path.write_text("body,intent\n" + "".join(f"{text},{label}\n" for text, label in toy_rows))
    return path


def answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_key_is_one_answer(burnish: Burnish, tickets: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    shown = burnish("audit", tickets, "--file", file, "--annotator", "ann", stdin="k1u\nxn sllate\nq")
    assert shown.code == 0
    found = answers(file)
    kept, first, unsure, none, typed = found
    assert len(found) == 5  # x is no key, s is asked again another time
    assert (kept["label"], kept["unsure"]) == (kept["before"], False)
    assert first["label"] not in (None, first["before"])
    assert (unsure["label"], unsure["unsure"]) == (None, True)
    assert (none["label"], none["unsure"]) == (None, False)
    assert typed["label"] == "late"
    assert {answer["annotator"] for answer in found} == {"ann"}
    assert "k keep   l other label   n none fits   u unsure   s skip   q quit" in shown.err
    assert "[1/" in shown.err
    assert shown.out.startswith(f"4 rows answered, in {file}\n")
    assert "  wrong labels in the data: " in shown.out
    assert "corrections; write them with --apply" in shown.out


def test_an_audit_goes_on_where_it_stopped(burnish: Burnish, tickets: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    burnish("audit", tickets, "--file", file, stdin="kk")  # the input ends: nothing is lost
    with file.open("a") as stream:
        stream.write('{"row": "cut off by a cra')
    shown = burnish("audit", tickets, "--file", file, stdin="k")
    assert "[3/" in shown.err
    assert len({answer["row"] for answer in answers(file)}) == 3
    other = burnish("audit", tickets, "--file", file, "--annotator", "bob", stdin="111q")
    assert "[1/" in other.err
    assert "agreement of bob and me: kappa" in other.out
    assert "3 rows without a majority are left as they are" in other.out


def test_answers_have_a_place_of_their_own(burnish: Burnish, tickets: Path) -> None:
    assert burnish("audit", tickets, stdin="k").code == 0
    summary = json.loads(burnish("audit", tickets, "--summary", "--json").out)
    assert (summary["answered"], Path(summary["file"]).parent.name) == (1, "audits")
    assert summary["random"] == {"n": 1, "wrong": 0, "share": 0.0, "low": 0.0, "high": pytest.approx(0.793, abs=1e-3)}


def test_corrections_become_labels(burnish: Burnish, tickets: Path, tmp_path: Path) -> None:
    file, output = tmp_path / "answers.jsonl", tmp_path / "fixed.jsonl"
    refused = burnish("audit", tickets, "--file", file, "--apply", "--output", output)
    assert (refused.code, refused.out) == (2, "")
    assert "[data/nothing-to-correct]" in refused.err
    burnish("audit", tickets, "--file", file, stdin="11kn")
    done = burnish("audit", tickets, "--file", file, "--apply", "--output", output)
    assert done.code == 0
    assert f"3 corrections written; train with them: `data: {{clean: {{relabel: {output}}}}}`" in done.out
    assert [set(entry) for entry in answers(output)] == [{"row", "label"}] * 3
    assert "[data/file-exists]" in burnish("audit", tickets, "--file", file, "--apply", "--output", output).err
    checked = json.loads(burnish("check", tickets, "--json", "--set", f"data.clean.relabel={output}").out)
    counts = {problem["code"]: problem["count"] for problem in checked["problems"]}
    assert (counts["data/relabelled"], counts["data/unfit"]) == (2, 1)


def test_a_file_of_something_else_is_refused(burnish: Burnish, tickets: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text('{"row": "a", "annotator": "b", "sampled": "random", "before": "x", "label": 7, "unsure": false}\n')
    shown = burnish("audit", tickets, "--file", file, stdin="k")
    assert (shown.code, shown.out) == (2, "")
    assert f"{file}:1: this line is no answer of an audit  [data/bad-answer]" in shown.err
    assert burnish("audit", tickets, "--json").code == 2


def test_texts_cannot_move_the_cursor(burnish: Burnish, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"say \x1b[2J {i} {'xyz'[i % 3] * i},{'ab'[i % 2]}\n" for i in range(40)))
    shown = burnish("audit", path, "--file", tmp_path / "a.jsonl", stdin="q")
    assert shown.code == 0
    assert "\x1b" not in shown.err + shown.out
