"""Choices in order, the parts that are made of them, and what came before each: by hand."""

from __future__ import annotations

import random

import pytest

from burnish.data.interactions import HISTORY, chosen_before, history_text, item_of, leave_last_out
from burnish.errors import DataProblemError
from burnish.types import Example, Origin, Problem, Provenance, Split

SHOP = """
anna jam 4
anna bread 1
ben bread 1
anna butter 2
ben jam 9
dora jam 1
dora cheese 2
anna cheese 3
ben butter 8
"""


def rows(text: str, *, made: str = "") -> list[Example]:
    """Choices such as "anna bread 3", one a line: who, what, when."""
    found = []
    for line, choice in enumerate(text.replace("\n\n", "\n").strip().splitlines(), start=1):
        user, item, time = choice.split()
        by = Provenance.SYNTHETIC if item == made else Provenance.HUMAN
        found.append(Example({"user": user, "item": item, "time": time}, Origin("f", line), provenance=by))
    return found


def said(examples: list[Example]) -> list[str]:
    return [f"{example.row['user']} {example.row['item']}" for example in examples]


def parts_of(examples: list[Example]) -> dict[Split, list[Example]]:
    return leave_last_out(examples, max_bad_ratio=0.05)[0]


def places(problems: list[Problem]) -> list[tuple[str, int]]:
    return [(problem.code, problem.origin.line) for problem in problems]


def test_the_last_choice_tests_and_the_one_before_validates() -> None:
    parts, problems = leave_last_out(rows(SHOP), max_bad_ratio=0.05)
    assert said(parts[Split.TRAIN]) == ["anna bread", "ben bread", "dora jam", "anna butter", "dora cheese"]
    assert said(parts[Split.VALIDATION]) == ["anna cheese", "ben butter"]
    assert said(parts[Split.TEST]) == ["anna jam", "ben jam"]  # dora's two choices are learned from alone
    assert not any(problems.values())


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = rows(SHOP)
    random.Random(5).shuffle(shuffled)
    wanted, found = parts_of(rows(SHOP)), parts_of(shuffled)
    assert all(sorted(said(found[part])) == sorted(said(wanted[part])) for part in Split)


def test_of_equal_times_the_earlier_row_comes_first() -> None:
    parts = parts_of(rows("anna jam 1\nanna tea 1\nanna rye 1\nben tea 1\nben rye 2"))
    assert said(parts[Split.TEST]) == ["anna rye"]
    assert said(parts[Split.VALIDATION]) == ["anna tea"]


def test_an_item_is_chosen_once() -> None:
    """Anna's second bread is no choice: her last ones are butter and jam."""
    again = rows("anna bread 1\nanna tea 2\nanna butter 3\nanna jam 4\nanna bread 5\nben butter 1\nben jam 2")
    parts, problems = leave_last_out(again, max_bad_ratio=0.05)
    assert said(parts[Split.TEST]) == ["anna jam"]
    (problem,) = problems[Split.TRAIN]
    assert (problem.code, str(problem.origin), problem.action) == ("data/repeated-choice", "f:5", "dropped")
    assert problem.reason == "the user chose this in f:1 already; what is known is not recommended"


def test_nobody_is_judged_on_what_no_training_row_holds() -> None:
    strange = rows(SHOP + "eve bread 1\neve jam 2\neve caviar 3")
    parts, problems = leave_last_out(strange, max_bad_ratio=0.05)
    assert said(parts[Split.TEST]) == ["anna jam", "ben jam"]
    assert places(problems[Split.TEST]) == [("data/unknown-item", 12)]
    assert "eve jam" in said(parts[Split.VALIDATION])


def test_synthetic_choices_only_train() -> None:
    made = rows(SHOP.replace("anna jam 4", "anna made 4\nanna jam 3.5"), made="made")
    parts = parts_of(made)
    assert "anna made" in said(parts[Split.TRAIN])
    assert said(parts[Split.TEST]) == ["anna jam", "ben jam"]


def test_unreadable_times() -> None:
    bad = rows(SHOP * 3 + "anna rye soon")
    parts, problems = leave_last_out(bad, max_bad_ratio=0.05)
    assert places(problems[Split.TRAIN])[0][0] == "data/bad-time"
    assert sum(map(len, parts.values())) == 9
    with pytest.raises(DataProblemError) as caught:
        leave_last_out(rows("anna rye soon\nanna jam 1\nben tea now"), max_bad_ratio=0.05)
    assert caught.value.code == "data/too-many-bad-rows"


def test_too_few_choices() -> None:
    with pytest.raises(DataProblemError) as caught:
        leave_last_out(rows("anna jam 1\nanna tea 2\nben jam 1"), max_bad_ratio=0.05)
    error = caught.value
    assert error.code == "data/too-few-choices"
    assert error.message.startswith("no user of 3 rows has 3 different items")
    assert "columns user and item" in str(error.hint)


def test_what_came_before() -> None:
    parts = parts_of(rows(SHOP))
    assert chosen_before(parts, Split.TRAIN) == [(3, ["bread"]), (4, ["jam"])]  # of anna's butter, of dora's cheese
    assert chosen_before(parts, Split.VALIDATION) == [(0, ["bread", "butter"]), (1, ["bread"])]
    assert chosen_before(parts, Split.TEST) == [(0, ["bread", "butter", "cheese"]), (1, ["bread", "butter"])]


def test_nothing_newer_comes_before_and_nothing_is_chosen_again() -> None:
    parts = parts_of(rows(SHOP))
    parts[Split.TEST] = rows("anna jam 2\nanna bread 9\nzoe jam 9")
    assert chosen_before(parts, Split.TEST) == [(0, ["bread", "butter"])]


def test_a_training_row_has_the_newest_of_a_long_past() -> None:
    long = {Split.TRAIN: rows("\n".join(f"anna item{time} {time}" for time in range(30)))}
    found = chosen_before(long, Split.TRAIN)
    assert len(found) == 29
    assert found[-1] == (29, [f"item{time}" for time in range(29 - HISTORY, 29)])


def test_a_history_as_a_text() -> None:
    assert history_text(["bread"]) == "bread"
    assert history_text([str(number) for number in range(12)]) == "11; 10; 9; 8; 7; 6; 5; 4; 3; 2"


def test_an_item_is_its_title() -> None:
    assert item_of({"item": "17", "title": "rye bread"}) == "rye bread"
    assert item_of({"item": "17"}) == "17"
