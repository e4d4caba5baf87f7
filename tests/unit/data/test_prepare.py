"""The whole way from files to parts: what is read, decided, dropped, counted and refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from burnish.data.formats import detect_format
from burnish.data.options import DataOptions
from burnish.data.prepare import PreparedData, prepare
from burnish.data.repair import row_key
from burnish.data.source import inspect_source
from burnish.errors import BurnishError, DataProblemError, DataReadError
from burnish.types import Example, Split

WANTED = {"text": str, "label": str}


def csv_of(*rows: tuple[str, str]) -> str:
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)


def numbered(count: int, prefix: str = "row", labels: str = "ab") -> list[tuple[str, str]]:
    return [(f"{prefix} {i}", labels[i % len(labels)]) for i in range(count)]


def prepared(folder: Path, *, wanted: dict[str, type] | None = None, **options: Any) -> PreparedData:
    settings = DataOptions(**({"train": "train.csv"} | options))
    return prepare(settings, wanted or WANTED, base_folder=folder, seed=13)


def refused(folder: Path, **options: Any) -> DataProblemError:
    with pytest.raises(DataProblemError) as caught:
        prepared(folder, **options)
    return caught.value


def texts(examples: list[Example]) -> list[str]:
    return [example.row["text"] for example in examples]


def test_one_file_is_split_in_three(tmp_path: Path) -> None:
    content = csv_of(*numbered(100))
    (tmp_path / "train.csv").write_text(content)
    data = prepared(tmp_path)
    assert data.sizes == {Split.TRAIN: 70, Split.VALIDATION: 15, Split.TEST: 15}
    assert data.columns == {"text": "text", "label": "label"}
    assert data.labels == ("a", "b")
    assert data.label_counts[Split.TRAIN] == {"a": 35, "b": 35}
    assert data.problems == []
    assert data.warnings == []
    assert data.notes == [
        'train.csv: CSV, delimiter ",", header on the first row; columns text, label',
        'columns: text is "text", label is "label"',
        "parts (seed 13): 70 train, 15 validation, 15 test",
    ]
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    assert data.files == {"train.csv": {"sha256": sha256, "bytes": len(content), "rows": 100}}
    for examples in data.splits.values():
        assert examples == sorted(examples, key=lambda example: example.origin.line)


def test_files_are_found_from_the_base_folder_and_named_as_given(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.csv").write_text(csv_of(*numbered(40)))
    data = prepared(tmp_path, train="rows/train.csv")
    assert list(data.files) == ["rows/train.csv"]
    assert data.splits[Split.TRAIN][0].origin.file == "rows/train.csv"
    with pytest.raises(DataReadError) as caught:
        prepared(tmp_path, train="rows/tran.csv")
    assert (caught.value.where, caught.value.hint) == ("rows/tran.csv", 'did you mean "rows/train.csv"?')


def test_several_training_files_are_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_of(*numbered(30, "a")))
    (tmp_path / "b.csv").write_text(csv_of(*numbered(30, "b")))
    data = prepared(tmp_path, train=("a.csv", "b.csv"))
    assert sum(data.sizes.values()) == 60
    files = [example.origin.file for example in data.splits[Split.TRAIN]]
    assert files == sorted(files)


def test_a_later_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(30)))
    (tmp_path / "test.csv").write_text("body,label\nhello,a\n")
    with pytest.raises(DataReadError) as caught:
        prepared(tmp_path, test="test.csv")
    assert (caught.value.code, caught.value.where) == ("data/unknown-column", "test.csv")


def test_with_a_test_file_a_tenth_of_train_validates(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(100)))
    (tmp_path / "test.csv").write_text(csv_of(*numbered(10, "test")))
    assert prepared(tmp_path, test="test.csv").sizes == {Split.TRAIN: 90, Split.VALIDATION: 10, Split.TEST: 10}
    data = prepared(tmp_path, test="test.csv", validation_ratio=0.2)
    assert data.sizes == {Split.TRAIN: 80, Split.VALIDATION: 20, Split.TEST: 10}


def test_with_a_validation_file_only_test_is_split_off(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(100)))
    (tmp_path / "validation.csv").write_text(csv_of(*numbered(10, "validation")))
    data = prepared(tmp_path, validation="validation.csv", test_ratio=0.2)
    assert data.sizes == {Split.TRAIN: 80, Split.VALIDATION: 10, Split.TEST: 20}


def test_three_files_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.csv").write_text(csv_of(*numbered(10, name)))
    data = prepared(tmp_path, validation="validation.csv", test="test.csv")
    assert data.sizes == {Split.TRAIN: 10, Split.VALIDATION: 10, Split.TEST: 10}
    assert texts(data.splits[Split.TEST]) == [f"test {i}" for i in range(10)]


def test_repeated_rows_leave_train_but_not_the_test_file(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(20), ("row 1", "b"), ("row 2", "b")))
    (tmp_path / "test.csv").write_text(csv_of(("new 1", "a"), ("new 1", "a"), ("Row 3", "b")))
    data = prepared(tmp_path, test="test.csv")
    assert [(p.code, str(p.origin), p.action) for p in data.problems] == [
        ("data/conflicting-label", "train.csv:4", "dropped"),
        ("data/duplicate", "train.csv:22", "dropped"),
        ("data/conflicting-label", "train.csv:23", "dropped"),
        ("data/duplicate", "test.csv:3", "kept"),
        ("data/leakage", "train.csv:5", "dropped"),
    ]
    assert data.sizes[Split.TEST] == 3
    assert data.notes[3:7] == [
        "train: 2 rows whose text has contradicting labels dropped",
        "train: 1 repeated rows dropped",
        "test: 1 repeated rows kept",
        "train: 1 rows with a text the model is judged on dropped",
    ]


def test_validation_rows_of_the_test_file_leave_validation(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(20)))
    (tmp_path / "validation.csv").write_text(csv_of(("one", "a"), ("two", "b")))
    (tmp_path / "test.csv").write_text(csv_of(("two", "b"), ("three", "a")))
    data = prepared(tmp_path, validation="validation.csv", test="test.csv")
    assert texts(data.splits[Split.VALIDATION]) == ["one"]
    assert texts(data.splits[Split.TEST]) == ["two", "three"]


def test_without_deduplication_repeated_rows_stay_and_stay_together(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(40), *numbered(40)))
    data = prepared(tmp_path, deduplicate=False)
    assert sum(data.sizes.values()) == 80
    parts = [set(texts(examples)) for examples in data.splits.values()]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 40


def test_bad_rows_are_listed_and_tolerated_up_to_a_share(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(98), ("", "a")) + "a,b,c\n")
    data = prepared(tmp_path)
    assert [(p.code, p.origin.line) for p in data.problems] == [("data/empty-text", 100), ("data/ragged-row", 101)]
    assert data.files["train.csv"]["rows"] == 100
    assert sum(data.sizes.values()) == 98
    assert refused(tmp_path, max_bad_ratio=0.01).code == "data/too-many-bad-rows"


def test_label_variants_are_refused_or_merged_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(40)))
    (tmp_path / "test.csv").write_text(csv_of(("new", "A")))
    error = refused(tmp_path, test="test.csv")
    assert (error.code, error.where) == ("data/label-variants", "test.csv:2")
    data = prepared(tmp_path, test="test.csv", merge_label_variants=True)
    assert data.splits[Split.TEST][0].row == {"text": "new", "label": "a"}
    assert 'label "A" (1 rows) merged into "a"' in data.notes
    assert prepared(tmp_path, test="test.csv", label_map={"A": "a"}).labels == ("a", "b")


def test_label_that_train_lacks(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*[(f"row {i}", ["refund", "cancel"][i % 2]) for i in range(40)]))
    (tmp_path / "test.csv").write_text(csv_of(("new", "refund"), ("newer", "refnd"), ("newest", "other")))
    error = refused(tmp_path, test="test.csv")
    assert (error.code, error.where, error.known) == ("data/unknown-label", "test.csv:3", ("cancel", "refund"))
    assert error.message == '"refnd" is not one of the 2 labels of the training rows'
    assert error.details == ('test.csv:3: "refnd"', 'test.csv:4: "other"')
    assert error.hint is not None
    assert "`data: {label_map: {refnd: refund}}`" in error.hint


def test_one_class(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"row {i},same\n" for i in range(20)))
    assert refused(tmp_path).code == "data/one-class"


def test_class_with_one_row_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(40), ("odd", "c")))
    data = prepared(tmp_path)
    assert data.warnings == ['label "c" has one row: it can be learned from, but not judged']
    assert data.label_counts[Split.TRAIN]["c"] == 1


def test_what_is_to_be_written_is_no_class(tmp_path: Path) -> None:
    """Rows with a text of their own as "target" are split like any others."""
    rows = [{"source": f"{i * 2654435761 % 2**32:08x}", "target": f"{i * 40503 % 65536:x} written"} for i in range(40)]
    data = formatted(tmp_path, rows)
    assert data.sizes == {Split.TRAIN: 28, Split.VALIDATION: 6, Split.TEST: 6}
    assert data.labels == ()


def test_columns_that_other_rows_do_not_have(tmp_path: Path) -> None:
    rows = [{"age": i, "height": i + 0.5, "target": ["yes", "no"][i % 2]} for i in range(40)]
    error = refused_rows(tmp_path, rows, columns={"target": "outcome"})
    assert (error.code, error.where, error.known) == (
        "data/unknown-column",
        "train.jsonl",
        ("age", "height", "target"),
    )
    error = refused_rows(tmp_path, rows, columns={"label": "target"})
    assert (error.code, error.where, error.known) == ("data/unknown-canonical-column", "data.columns", ("target",))
    error = refused_rows(tmp_path, rows, group_by="agee")
    assert error.code == "data/unknown-column"
    assert str(error.hint).endswith('did you mean "age"?')


def test_one_tag_for_every_token(tmp_path: Path) -> None:
    rows = [{"tokens": ["row", str(i)], "tags": ["O", "O"]} for i in range(40)]
    assert refused_rows(tmp_path, rows).code == "data/one-class"


def test_refused_rows_are_said_and_counted(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(50), ("one", ""), ("two", "")))
    assert "train.csv: 2 rows left out that cannot be used; line 52: the label is empty" in prepared(tmp_path).notes


def test_a_map_of_labels_where_there_are_none(tmp_path: Path) -> None:
    error = refused_rows(tmp_path, [{"text": f"row {i}", "score": i / 2} for i in range(40)], label_map={"1": "2"})
    assert (error.code, error.where, error.hint) == (
        "data/nothing-to-map",
        "data.label_map",
        "leave `data.label_map` out",
    )


def formatted(folder: Path, rows: list[dict[str, Any]], **options: Any) -> PreparedData:
    """The rows, prepared as what they are for."""
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = DataOptions(train="train.jsonl", **options)
    shape = inspect_source(folder / "train.jsonl", settings)
    return prepare(settings, {}, base_folder=folder, seed=13, row_format=detect_format(shape.columns, shape.sample))


def refused_rows(folder: Path, rows: list[dict[str, Any]], **options: Any) -> BurnishError:
    with pytest.raises((DataProblemError, DataReadError)) as caught:
        formatted(folder, rows, **options)
    return caught.value


def test_too_few_rows(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(3)))
    error = refused(tmp_path)
    assert error.code == "data/too-few-rows"
    assert error.message == "every part needs rows, there are 3 train, 0 validation, 0 test"


def test_too_many_rows_that_stay_together(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(60, "the very same long sentence for every row number")))
    error = refused(tmp_path)
    assert (error.code, error.message) == (
        "data/too-few-rows",
        "every part needs rows, there are 60 train, 0 validation, 0 test",
    )
    assert error.hint is not None
    assert "`data: {near_duplicates: false}`" in error.hint
    assert prepared(tmp_path, near_duplicates=False).sizes[Split.TEST] == 9


def test_the_same_file_twice(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(csv_of(*numbered(30)))
    os.link(tmp_path / "train.csv", tmp_path / "copy.csv")
    error = refused(tmp_path, test="copy.csv")
    assert (error.code, error.where) == ("data/same-file", "copy.csv")
    assert error.message == 'holds the same bytes as "train.csv"'


def test_a_task_without_labels(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text\n" + "".join(f"row {i}\n" for i in range(40)))
    data = prepared(tmp_path, wanted={"text": str})
    assert sum(data.sizes.values()) == 40
    assert (data.labels, data.label_counts[Split.TRAIN]) == ((), {})


def test_repairs_are_listed_and_counted(tmp_path: Path) -> None:
    rows = [*numbered(60), ("mail me at ann@example.org", "a"), ("a row of quite some length " * 9, "b")]
    (tmp_path / "train.csv").write_text(csv_of(*rows))
    key = row_key({"text": "row 7", "label": "b"})
    (tmp_path / "fixed.jsonl").write_text(json.dumps({"row": key, "label": "a"}))
    clean = {"relabel": "fixed.jsonl", "redact": True, "max_characters": 100, "near_duplicates": True}
    data = prepared(tmp_path, clean=clean)
    found = {(p.code, p.origin.line, p.action) for p in data.problems}
    assert found >= {("data/relabelled", 9, "changed"), ("data/redacted", 62, "changed")}
    held_back = 63 in {e.origin.line for part in (Split.VALIDATION, Split.TEST) for e in data.splits[part]}
    assert (("data/long-row", 63, "changed") in found) is not held_back  # only training rows are cut
    assert "train: 1 labels as the audit says changed" in data.notes
    everything = [e for examples in data.splits.values() for e in examples]
    assert [e.row["label"] for e in everything if e.row["text"] == "row 7"] == ["a"]
    assert [e.provenance.value for e in everything if e.row["text"] == "row 7"] == ["corrected"]
    assert not any("example.org" in text for text in texts(everything))


def test_training_rows_are_balanced_and_copied_and_the_others_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        csv_of(*numbered(90, "some words of class one", "a"), *numbered(20, "two", "b"))
    )
    plain = prepared(tmp_path, near_duplicates=False)
    assert any("`data: {balance: weights}`" in note for note in plain.notes)
    assert (plain.class_weights, plain.found) == ({}, plain.splits)
    weighted = prepared(tmp_path, balance="weights", near_duplicates=False)
    assert list(weighted.class_weights) == ["a", "b"]
    a, b = (plain.label_counts[Split.TRAIN][label] for label in "ab")
    assert weighted.class_weights["b"] == pytest.approx((a + b) / (2 * b))
    assert any(note.startswith("data.balance: weights, a row counts from") for note in weighted.notes)
    changes = [
        ({"balance": "oversample"}, 2 * a),
        ({"balance": "undersample"}, 2 * b),
        ({"noisy_copies": 2}, 3 * (a + b)),
    ]
    for options, count in changes:
        data = prepared(tmp_path, near_duplicates=False, **options)
        assert data.sizes[Split.TRAIN] == count
        assert data.found == plain.splits
        assert {p: data.splits[p] for p in (Split.VALIDATION, Split.TEST)} == {
            p: plain.splits[p] for p in (Split.VALIDATION, Split.TEST)
        }
        assert data.split_fingerprint == plain.split_fingerprint
        assert data.label_counts == plain.label_counts


def test_kept_columns_and_origins_come_along(tmp_path: Path) -> None:
    lines = [f"row {i},{'ab'[i % 2]},u{i % 20},{'synthetic' if i % 4 == 0 else ''}" for i in range(80)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label,user,origin", *lines]) + "\n")
    data = prepared(tmp_path, group_by="user")
    assert "train: 20 synthetic rows" in data.notes
    judged = [*data.splits[Split.VALIDATION], *data.splits[Split.TEST]]
    assert all(e.provenance.value == "human" for e in judged)
    users = [{e.extra["user"] for e in examples} for examples in data.splits.values()]
    assert sum(map(len, users)) == len(set().union(*users)) == 20
    with pytest.raises(DataReadError) as caught:
        prepared(tmp_path, group_by="usr")
    assert (caught.value.code, caught.value.where) == ("data/unknown-column", "train.csv")


def test_row_order_changes_neither_the_parts_nor_their_fingerprint(tmp_path: Path) -> None:
    rows = numbered(100)
    (tmp_path / "train.csv").write_text(csv_of(*rows))
    (tmp_path / "shuffled.csv").write_text(csv_of(*random.Random(1).sample(rows, len(rows))))
    before, after = prepared(tmp_path), prepared(tmp_path, train="shuffled.csv")
    for part in Split:
        assert set(texts(before.splits[part])) == set(texts(after.splits[part]))
    assert before.split_fingerprint == after.split_fingerprint
    (tmp_path / "other.csv").write_text(csv_of(*rows[1:]))
    assert prepared(tmp_path, train="other.csv").split_fingerprint != before.split_fingerprint


def test_parts_of_several_files_and_patterns(tmp_path: Path) -> None:
    for name, prefix in (("b", "second"), ("a", "first"), ("c", "third")):
        (tmp_path / f"{name}.csv").write_text(csv_of(*numbered(20, prefix)))
    data = prepared(tmp_path, train=("[ab].csv",), test=("c.csv",))
    assert list(data.files) == ["a.csv", "b.csv", "c.csv"]
    assert {example.origin.file for example in data.splits[Split.TEST]} == {"c.csv"}
    assert sum(data.sizes.values()) == 60


def test_a_file_with_other_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_of(*numbered(20)))
    (tmp_path / "b.csv").write_text(csv_of(*numbered(20, "other")).replace("label", "class"))
    with pytest.raises(DataReadError) as caught:
        prepared(tmp_path, train="*.csv")
    assert (caught.value.code, caught.value.where) == ("data/unknown-column", "b.csv")


def test_a_file_with_other_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_of(*numbered(20)))
    (tmp_path / "b.csv").write_text(csv_of(*numbered(20, "other", "xy")))
    (tmp_path / "c.csv").write_text(csv_of(*numbered(20, "third", "z")))
    data = prepared(tmp_path, train="*.csv")
    assert data.warnings == [
        'b.csv shares no label with the files before it: "x", "y" there, "a", "b" in them; '
        "`data.label_map` makes them one"
    ]


def table_of(folder: Path, content: str, **options: Any) -> PreparedData:
    (folder / "train.csv").write_text(content)
    settings = DataOptions(train="train.csv", **options)
    shape = inspect_source(folder / "train.csv", settings, name="train.csv")
    row_format = detect_format(shape.columns, shape.sample)
    assert row_format is not None
    return prepare(settings, {}, base_folder=folder, seed=13, row_format=row_format)


def test_classes_of_a_table_are_counted_and_weighed(tmp_path: Path) -> None:
    content = "x,y,class\n" + "".join(f"{i},{i % 7},{'ab'[i % 4 == 0]}\n" for i in range(80))
    data = table_of(tmp_path, content, balance="weights")
    assert data.labels == ("a", "b")
    assert data.label_counts[Split.TRAIN] == {"a": 42, "b": 14}
    assert data.class_weights == {"a": 56 / 84, "b": 2.0}


def test_cells_of_a_table_that_are_alike_with_another_target_are_no_contradiction(tmp_path: Path) -> None:
    content = "x,y,class\n" + "".join(f"{i % 3},{i % 2},{'ab'[i % 7 < 3]}\n" for i in range(84))
    data = table_of(tmp_path, content, deduplicate=False)
    assert sum(data.sizes.values()) == 84
    assert data.problems == []


def test_a_class_of_a_table_that_train_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("x,y,class\n" + "".join(f"{i},{i % 5},{'ac'[i % 2]}\n" for i in range(20)))
    content = "x,y,class\n" + "".join(f"{i + 100},{i % 7},{'ab'[i % 2]}\n" for i in range(80))
    with pytest.raises(DataProblemError) as caught:
        table_of(tmp_path, content, test="test.csv")
    assert caught.value.code == "data/unknown-label"
    assert caught.value.message.startswith('"c" is not one of the 2 labels')
