"""Three parts without leaks: what leaves which part, what synthetic rows may do, and how times are read."""

from __future__ import annotations

import random

import pytest

from burnish.data.options import DataOptions
from burnish.data.parts import make_parts, moment, without_twins
from burnish.errors import DataProblemError
from burnish.types import Example, Origin, Problem, Provenance, Split

WORDS = (
    "where",
    "is",
    "my",
    "card",
    "and",
    "why",
    "does",
    "the",
    "refund",
    "for",
    "it",
    "take",
    "so",
    "long",
    "when",
    "two",
)


def sentence(seed: int) -> str:
    generator = random.Random(seed)
    return " ".join(generator.choices(WORDS, k=12)) + f" {seed}"


def example(text: str, line: int, *, file: str = "f", made: bool = False, **extra: object) -> Example:
    provenance = Provenance.SYNTHETIC if made else Provenance.HUMAN
    return Example({"text": text, "label": "ab"[line % 2]}, Origin(file, line), extra, provenance)


def options(**fields: object) -> DataOptions:
    return DataOptions.model_validate({"train": "f", **fields})


def lines(items: list[Example] | list[Problem]) -> list[int]:
    return [item.origin.line for item in items]


def test_almost_equal_rows_stay_in_one_part() -> None:
    rows = [example(sentence(i // 2) + "!" * (i % 2), i) for i in range(400)]
    parts, problems = make_parts({Split.TRAIN: rows}, options(), 13)
    for found in parts.values():
        assert {line // 2 for line in lines(found) if line % 2} == {line // 2 for line in lines(found) if not line % 2}
    assert [len(parts[part]) for part in Split] == [280, 60, 60]
    assert not any(problems.values())
    apart, _ = make_parts({Split.TRAIN: rows}, options(near_duplicates=False), 13)
    tested, learned = ({line // 2 for line in lines(apart[part])} for part in (Split.TEST, Split.TRAIN))
    assert tested & learned


def test_a_declared_group_stays_in_one_part() -> None:
    rows = [example(sentence(i), i, user=f"u{i % 40}") for i in range(400)]
    parts, _ = make_parts({Split.TRAIN: rows}, options(group_by="user"), 13)
    users = [{row.extra["user"] for row in found} for found in parts.values()]
    assert sum(map(len, users)) == 40
    assert [len(parts[part]) for part in Split] == [280, 60, 60]


def test_training_rows_leave_for_their_twins_in_given_parts() -> None:
    train = [example(sentence(i), i, user=str(i)) for i in range(20)]
    test = [
        example(sentence(3).upper(), 100, file="t", user="x"),
        example(sentence(5) + "?", 101, file="t", user="y"),
        example(sentence(99), 102, file="t", user="7"),
    ]
    parts, problems = make_parts({Split.TRAIN: train, Split.TEST: test}, options(group_by="user"), 13)
    assert parts[Split.TEST] == test
    assert {line for part in (Split.TRAIN, Split.VALIDATION) for line in lines(parts[part])} == set(range(20)) - {
        3,
        5,
        7,
    }
    assert [(p.code, p.origin.line, p.reason) for p in problems[Split.TRAIN]] == [
        ("data/leakage", 3, "the same text is in t:100, which the model is judged on"),
        ("data/leakage", 5, "almost the same text is in t:101, which the model is judged on"),
        ("data/leakage", 7, "t:102, which the model is judged on, has the same user"),
    ]


def test_without_near_duplicates_only_equal_texts_leak() -> None:
    rows, judged = [example(sentence(1), 1), example(sentence(2), 2)], [example(sentence(1) + "?", 9)]
    assert lines(without_twins(rows, judged, options())[0]) == [2]
    assert lines(without_twins(rows, judged, options(near_duplicates=False))[0]) == [1, 2]
    assert lines(without_twins(rows, [], options())[0]) == [1, 2]


def test_validation_leaves_for_test() -> None:
    given = {
        Split.TRAIN: [example(sentence(i), i) for i in range(10)],
        Split.VALIDATION: [example(sentence(20), 20), example(sentence(21), 21)],
        Split.TEST: [example(sentence(20) + ".", 30)],
    }
    parts, problems = make_parts(given, options(), 13)
    assert [lines(parts[part]) for part in Split] == [list(range(10)), [21], [30]]
    assert lines(problems[Split.VALIDATION]) == [20]


def test_synthetic_rows_only_train() -> None:
    rows = [example(sentence(i), i, made=i % 2 == 1) for i in range(200)]
    parts, problems = make_parts({Split.TRAIN: rows}, options(), 13)
    judged = [*parts[Split.VALIDATION], *parts[Split.TEST]]
    assert len(judged) == 30
    assert all(row.provenance is Provenance.HUMAN for row in judged)
    assert len(parts[Split.TRAIN]) == 170
    assert lines(parts[Split.TRAIN]) == sorted(lines(parts[Split.TRAIN]))
    assert not any(problems.values())


def test_synthetic_rows_do_not_change_where_the_others_go() -> None:
    rows = [example(sentence(i), i) for i in range(100)]
    made = [example(sentence(i) + " please", 1000 + i, made=True) for i in range(100)]
    alone, _ = make_parts({Split.TRAIN: rows}, options(), 13)
    parts, problems = make_parts({Split.TRAIN: [*rows, *made]}, options(), 13)
    assert parts[Split.VALIDATION] == alone[Split.VALIDATION]
    assert parts[Split.TEST] == alone[Split.TEST]
    judged = {line + 1000 for part in (Split.VALIDATION, Split.TEST) for line in lines(parts[part])}
    assert set(lines(problems[Split.TRAIN])) == judged  # the variants of rows that are judged on
    assert not judged & set(lines(parts[Split.TRAIN]))


def test_synthetic_rows_of_a_given_test_file_are_left_out() -> None:
    given = {
        Split.TRAIN: [example(sentence(i), i) for i in range(20)],
        Split.TEST: [example(sentence(30), 30), example(sentence(31), 31, made=True)],
    }
    parts, problems = make_parts(given, options(), 13)
    assert lines(parts[Split.TEST]) == [30]
    assert [(p.code, p.origin.line) for p in problems[Split.TEST]] == [("data/synthetic", 31)]


def test_the_newest_rows_judge_and_rows_without_a_time_are_listed() -> None:
    rows = [example(sentence(i), i, day=f"2026-01-{1 + i % 28:02}") for i in range(280)]
    rows[5] = example(sentence(5), 5, day="soon\x1b")
    rows[6] = example(sentence(6), 6)
    parts, problems = make_parts({Split.TRAIN: rows}, options(time_column="day"), 13)
    newest = {part: max(row.extra["day"] for row in found) for part, found in parts.items()}
    oldest = {part: min(row.extra["day"] for row in found) for part, found in parts.items()}
    assert newest[Split.TRAIN] <= oldest[Split.VALIDATION] <= newest[Split.VALIDATION] <= oldest[Split.TEST]
    assert [(p.code, p.origin.line, p.column, p.reason, p.excerpt) for p in problems[Split.TRAIN]] == [
        ("data/bad-time", 5, "day", "the time is no date", "soon\\x1b"),
        ("data/bad-time", 6, "day", "the time is missing", ""),
    ]


def test_too_many_rows_without_a_time_stop_the_run() -> None:
    rows = [example(sentence(i), i, day="7" if i % 2 else "x") for i in range(40)]
    with pytest.raises(DataProblemError) as caught:
        make_parts({Split.TRAIN: rows}, options(time_column="day"), 13)
    assert (caught.value.code, caught.value.where) == ("data/too-many-bad-rows", "f:0")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1970-01-02", ("date", 86400.0)),
        ("1970-01-01T01:00:00+01:00", ("date", 0.0)),
        (" 1970-01-01 00:00:01 ", ("date", 1.0)),
        (3, ("number", 3.0)),
        ("2.5", ("number", 2.5)),
        (True, None),
        (None, None),
        ("", None),
        ("nan", None),
        (float("inf"), None),
        ("1" * 400, None),
        ("0001-01-01T00:00:00+23:00", ("date", -62135679600.0)),
        (["2026"], None),
    ],
)
def test_moments(value: object, found: tuple[str, float] | None) -> None:
    assert moment(value) == found
