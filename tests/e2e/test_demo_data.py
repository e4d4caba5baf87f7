"""The data of the demo: real faults, each one known, and those burnish looks for are found."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.data.deduplicate import loose_form
from burnish.data.prepare import PreparedData, prepare
from burnish.lifecycle.demo import demo_recipe
from burnish.types import Split

FAULTS = Path(__file__).parents[1] / "data" / "demo_faults.json"


@pytest.fixture(scope="module")
def faults() -> list[dict[str, Any]]:
    """What was planted into the training file, by physical line."""
    content: list[dict[str, Any]] = json.loads(FAULTS.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def data() -> PreparedData:
    recipe = demo_recipe()
    return prepare(recipe.data, {"text": str, "label": str}, base_folder=Path(), seed=recipe.training.seed)


def rows_of(file: str) -> dict[int, dict[str, str]]:
    """Rows by the physical line they begin on."""
    with Path(file).open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows, line = {}, 2
        for row in reader:
            rows[line] = row
            line = reader.line_num + 1
    return rows


def lines_of(faults: list[dict[str, Any]], kind: str) -> set[int]:
    return {fault["line"] for fault in faults if fault["kind"] == kind}


def test_size_and_balance(data: PreparedData) -> None:
    assert sum(facts["rows"] for facts in data.files.values()) >= 3_000
    assert data.sizes[Split.TEST] >= 400
    counts = Counter(data.label_counts[Split.TRAIN]) + Counter(data.label_counts[Split.VALIDATION])
    assert set(counts) == {"customer", "nobody", "support"}
    assert 4 <= max(counts.values()) / min(counts.values()) <= 8


def test_every_planted_duplicate_is_found(data: PreparedData, faults: list[dict[str, Any]]) -> None:
    """One row of each pair is dropped; the other one is named in the reason."""
    found = [problem for problem in data.problems if problem.code == "data/duplicate"]
    pairs = [{problem.origin.line, int(problem.reason.rsplit(":", 1)[1])} for problem in found]
    planted = lines_of(faults, "exact-duplicate")
    assert len(planted) >= 50
    assert [line for line in planted if not any(line in pair for pair in pairs)] == []
    assert len(found) == len(planted)


def test_every_empty_text_is_found(data: PreparedData, faults: list[dict[str, Any]]) -> None:
    found = {problem.origin.line for problem in data.problems if problem.code == "data/empty-text"}
    assert found == lines_of(faults, "empty-text") != set()


def test_faults_are_where_the_list_says(faults: list[dict[str, Any]]) -> None:
    rows = rows_of(str(demo_recipe().data.train))
    texts = Counter(row["message"] for row in rows.values())
    for fault in faults:
        row = rows[fault["line"]]
        if fault["kind"] in ("email", "phone"):
            assert fault["value"] in row["message"]
        if fault["kind"] == "wrong-label":
            assert row["next_action"] != fault["true"]
        if fault["kind"] == "exact-duplicate":
            assert texts[row["message"]] == 2
        if fault["kind"] == "near-duplicate":
            assert texts[row["message"]] == 1


def test_nothing_of_the_test_is_learned(data: PreparedData) -> None:
    forms = {part: {loose_form(example.row) for example in rows} for part, rows in data.splits.items()}
    assert not forms[Split.TEST] & (forms[Split.TRAIN] | forms[Split.VALIDATION])
    assert not [problem for problem in data.problems if problem.code == "data/leakage"]


def test_addresses_and_numbers_are_nobodys(faults: list[dict[str, Any]]) -> None:
    """Mail domains and telephone numbers that are reserved for examples (RFC 2606; Ofcom and NANPA drama numbers)."""
    for fault in faults:
        if fault["kind"] == "email":
            assert re.search(r"@example\.(com|net|org)$", fault["value"])
        if fault["kind"] == "phone":
            assert re.search(r"555-01\d\d$|7700 900\d{3}$|\b(20|1632) ?\d", fault["value"]), fault["value"]


def test_check_says_the_same(burnish: Callable[..., Any], faults: list[dict[str, Any]]) -> None:
    recipe = demo_recipe()
    shown = burnish("check", recipe.data.train, "--test", recipe.data.test, "--json")
    assert shown.code == 1
    found = json.loads(shown.out)
    counts = {problem["code"]: problem["count"] for problem in found["problems"]}
    kinds = (("data/duplicate", "exact-duplicate"), ("data/empty-text", "empty-text"))
    assert counts == {code: len(lines_of(faults, kind)) for code, kind in kinds}
    assert found["columns"] == dict(recipe.data.columns)
