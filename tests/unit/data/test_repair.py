"""Repairs one by one: which rows change, which go, and the reason each leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.data.options import CleanOptions
from burnish.data.repair import (
    drop_near_duplicates,
    read_corrections,
    redact_rows,
    relabel,
    repair_training_rows,
    row_key,
    settle_length_outliers,
    shorten,
    text_length,
)
from burnish.errors import DataReadError
from burnish.types import Example, Origin, Problem, Provenance


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [Example({"text": text, "label": label}, Origin("f", i)) for i, (text, label) in enumerate(pairs, start=2)]


def told(problems: list[Problem]) -> list[tuple[str, int, str]]:
    return [(problem.code, problem.origin.line, problem.action) for problem in problems]


def test_a_key_is_what_the_row_says_and_its_label() -> None:
    key = row_key({"text": "a b", "label": "x"})
    assert key == row_key({"label": "x", "text": "a \n b"})
    assert key != row_key({"text": "a b", "label": "y"})
    assert key != row_key({"text": "A b", "label": "x"})


def test_labels_become_what_the_audit_says() -> None:
    examples = rows(("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"))
    keys = [row_key(example.row) for example in examples]
    kept, problems = relabel(examples, {keys[0]: "y", keys[1]: "x", keys[2]: None})
    assert [(e.row["label"], e.provenance) for e in kept] == [
        ("y", Provenance.CORRECTED),
        ("x", Provenance.HUMAN),
        ("y", Provenance.HUMAN),
    ]
    assert kept[0].origin == examples[0].origin
    assert told(problems) == [("data/relabelled", 2, "changed"), ("data/unfit", 4, "dropped")]
    assert problems[0].reason == 'the audit says "y", it was "x"'


def test_corrections_are_read_last_one_first(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    entries = [{"row": "k1", "label": "a"}, {"row": "k2", "label": None, "by": "ann"}, {"row": "k1", "label": "b"}]
    path.write_text("\n".join(map(json.dumps, entries)) + "\n\n")
    assert read_corrections(path, "c.jsonl") == {"k1": "b", "k2": None}


@pytest.mark.parametrize(
    "line", ["{", "[]", '"x"', '{"row": 1, "label": "a"}', '{"row": "k"}', '{"row": "k", "label": " "}', "[" * 100_000]
)
def test_a_line_that_is_no_correction_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"row": "k", "label": "a"}\n' + line)
    with pytest.raises(DataReadError) as caught:
        read_corrections(path, "c.jsonl")
    assert (caught.value.code, caught.value.where) == ("data/bad-correction", "c.jsonl:2")
    assert caught.value.hint is not None
    assert '"label": null' in caught.value.hint


def test_missing_corrections(tmp_path: Path) -> None:
    with pytest.raises(DataReadError) as caught:
        read_corrections(tmp_path / "c.jsonl", "c.jsonl")
    assert (caught.value.code, caught.value.where) == ("data/no-corrections", "c.jsonl")
    assert "No such file" in caught.value.message


def test_personal_data_becomes_its_kind() -> None:
    examples = [
        *rows(("write to ann@example.org or bob@example.org", "ann@example.org"), ("nothing here", "x")),
        Example({"messages": [{"role": "user", "content": "I am ann@example.org"}], "n": 3}, Origin("f", 4)),
    ]
    repaired, problems = redact_rows(examples)
    assert repaired[0].row == {"text": "write to [EMAIL] or [EMAIL]", "label": "ann@example.org"}
    assert repaired[1] is examples[1]
    assert repaired[2].row == {"messages": [{"role": "user", "content": "I am [EMAIL]"}], "n": 3}
    assert told(problems) == [("data/redacted", 2, "changed"), ("data/redacted", 4, "changed")]
    assert problems[0].reason == "redacted: email 2"
    assert redact_rows(repaired) == (repaired, [])


def test_of_almost_equal_rows_the_first_with_each_label_stays() -> None:
    text = "please tell me where my card is, it has not come"
    kept, problems = drop_near_duplicates(
        rows((text, "x"), (text + "!", "x"), (text + "?", "y"), ("another text", "x"))
    )
    assert [example.origin.line for example in kept] == [2, 4, 5]
    assert told(problems) == [("data/near-duplicate", 3, "dropped")]
    assert problems[0].reason == "almost the same text as f:2, with the same label"


def test_long_rows_are_cut_or_left_out() -> None:
    examples = rows(("abc", "a very long label"), ("abcdef", "x"))
    cut, problems = shorten(examples, 4, drop=False)
    assert [example.row["text"] for example in cut] == ["abc", "abcd"]
    assert told(problems) == [("data/long-row", 3, "changed")]
    assert problems[0].reason == "a text of 6 characters; 4 are allowed, the rest is cut"
    left, problems = shorten(examples, 4, drop=True)
    assert left == examples[:1]
    assert told(problems) == [("data/long-row", 3, "dropped")]


def test_outliers_by_length() -> None:
    usual = [("x" * (40 + i), "a") for i in range(40)]
    examples = rows(*usual, ("x", "a"), ("x" * 5000, "a"))
    kept, problems = settle_length_outliers(examples, drop=True)
    assert kept == examples[:40]
    assert told(problems) == [("data/length-outlier", 42, "dropped"), ("data/length-outlier", 43, "dropped")]
    capped, problems = settle_length_outliers(examples, drop=False)
    assert told(problems) == [("data/length-outlier", 42, "dropped"), ("data/length-outlier", 43, "changed")]
    assert 79 < text_length(capped[-1].row) < 1000


@pytest.mark.parametrize("lengths", [[1] * 19 + [500], [5] * 40 + [5000], [], [1, 900] * 30])
def test_nothing_is_an_outlier_among_few_equal_or_spread_rows(lengths: list[int]) -> None:
    examples = rows(*(("x" * n, "a") for n in lengths[:19] if lengths[0] == 1)) or rows(
        *(("x" * n, "a") for n in lengths)
    )
    assert settle_length_outliers(examples, drop=True) == (examples, [])


def test_the_recipe_says_which() -> None:
    examples = rows(*(("x" * (40 + i % 9), "a") for i in range(40)), ("x" * 4000, "a"))
    assert repair_training_rows(examples, CleanOptions()) == (examples, [])
    _, problems = repair_training_rows(examples, CleanOptions(max_characters=2000, length_outliers="drop"))
    assert told(problems) == [("data/long-row", 42, "changed"), ("data/length-outlier", 42, "dropped")]
