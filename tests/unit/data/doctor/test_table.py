"""Columns that give the target away, and columns that tell nothing."""

from __future__ import annotations

import random
from typing import Any

from burnish.data.doctor.table import target_leaks, unread_columns


def rows(n: int, **columns: Any) -> list[dict[str, Any]]:
    chooser = random.Random(1)
    made = []
    for index in range(n):
        target = chooser.choice(["yes", "no"])
        row = {"age": chooser.randint(18, 80), "id": f"id{index}"}
        row |= {name: value(target, chooser) for name, value in columns.items()}
        made.append({"features": row, "target": target})
    return made


def test_a_word_column_that_gives_the_target_away(subject: Any) -> None:
    (found,) = target_leaks(subject(rows(200, closed=lambda target, _: "Y" if target == "yes" else "N")))
    assert (found.code, found.severity) == ("data/target-leak", "error")
    assert 'the column "closed" alone predicts the target: 0 of 200 rows wrong' in found.what


def test_a_number_column_that_gives_the_target_away(subject: Any) -> None:
    made = rows(500, days=lambda target, chooser: chooser.random() + (5 if target == "yes" else 0))
    (found,) = target_leaks(subject(made))
    assert '"days"' in found.what


def test_a_good_column_is_no_leak(subject: Any) -> None:
    made = rows(500, hint=lambda target, chooser: target if chooser.random() < 0.8 else "no")
    assert list(target_leaks(subject(made))) == []


def test_names_and_few_rows_prove_nothing(subject: Any) -> None:
    assert list(target_leaks(subject(rows(300)))) == []
    assert list(target_leaks(subject(rows(20, closed=lambda target, _: target)))) == []
    assert list(target_leaks(subject(["a text"] * 100))) == []


def test_columns_that_tell_nothing_are_named_with_the_reason(subject: Any) -> None:
    made = rows(60, country=lambda *_: "NL", plan=lambda _, chooser: chooser.choice("abc"))
    (found,) = unread_columns(subject(made))
    assert (found.code, found.severity, found.count) == ("data/unread-column", "info", 0)
    assert found.what == "2 of 4 columns tell nothing and are not read"
    assert found.details == ("id: has another value in nearly every row", "country: holds one value only")
    assert list(unread_columns(subject([{"features": {"age": i % 7}, "target": "a"} for i in range(60)]))) == []
    assert list(unread_columns(subject(["a text"] * 100))) == []
