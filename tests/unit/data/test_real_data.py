"""Public data sets come out with the numbers their authors and README files give."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from burnish.data.deduplicate import loose_form
from burnish.data.options import DataOptions
from burnish.data.prepare import PreparedData, prepare
from burnish.data.source import Record, inspect_source, read_source
from burnish.errors import BurnishError
from burnish.types import Problem, Split

DATA = Path(__file__).parents[3].parent / "shared" / "data"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the public data sets are not at {DATA}"),
]


def prepared(**options: Any) -> PreparedData:
    return prepare(DataOptions(**options), {"text": str, "label": str}, base_folder=DATA, seed=13)


def assert_nothing_straddles(data: PreparedData) -> None:
    forms = [{loose_form(example.row) for example in examples} for examples in data.splits.values()]
    assert sum(map(len, forms)) == len(set().union(*forms))


def test_sms_spam() -> None:
    data = prepared(train="sms_spam/SMSSpamCollection.tsv")
    assert data.files["sms_spam/SMSSpamCollection.tsv"]["rows"] == 5574
    assert data.columns == {"text": "column2", "label": "column1"}
    assert {problem.code for problem in data.problems} == {"data/duplicate"}
    assert len(data.problems) == 403
    assert sum(data.sizes.values()) == 5574 - 403
    assert_nothing_straddles(data)
    spam = [data.label_counts[part]["spam"] / data.sizes[part] for part in Split]
    assert max(spam) - min(spam) < 0.02


def test_sms_spam_texts_are_those_of_the_file() -> None:
    path = DATA / "sms_spam" / "SMSSpamCollection.tsv"
    options = DataOptions(train=str(path))
    records = list(read_source(path, inspect_source(path, options), options))
    lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    assert [item.values["column2"] for item in records if isinstance(item, Record)] == [x.split("\t")[1] for x in lines]
    assert [item.origin.line for item in records] == list(range(1, 5575))


def test_banking77() -> None:
    data = prepared(train="banking77/train.csv", test="banking77/test.csv")
    assert (data.files["banking77/train.csv"]["rows"], data.sizes[Split.TEST]) == (10_003, 3_080)
    assert len(data.labels) == 77
    assert data.columns == {"text": "text", "label": "category"}
    assert [(p.code, p.action) for p in data.problems] == [("data/leakage", "dropped")] * 117
    assert sum(problem.reason.startswith("the same text is in") for problem in data.problems) == 7
    assert (data.sizes[Split.TRAIN], data.sizes[Split.VALIDATION]) == (8_898, 988)
    assert_nothing_straddles(data)


def test_clinc150() -> None:
    names = {part.value: f"clinc150/{part.value}.csv" for part in Split}
    data = prepared(**names)
    assert {name: data.files[name]["rows"] for name in names.values()} == {
        "clinc150/train.csv": 15_100,
        "clinc150/validation.csv": 3_100,
        "clinc150/test.csv": 5_500,
    }
    assert len(data.labels) == 151
    assert (data.sizes[Split.VALIDATION], data.sizes[Split.TEST]) == (3_085, 5_500)
    assert_nothing_straddles(data)


def test_youtube_spam() -> None:
    names = sorted(f"youtube_spam/{path.name}" for path in (DATA / "youtube_spam").glob("*.csv"))
    data = prepared(train=tuple(names[:4]), test=names[4])
    assert [data.files[name]["rows"] for name in names] == [350, 350, 438, 448, 370]
    assert data.labels == ("0", "1")
    assert data.sizes[Split.TEST] == 370
    assert {(p.code, p.action) for p in data.problems} == {
        ("data/duplicate", "dropped"),
        ("data/duplicate", "kept"),
        ("data/leakage", "dropped"),
    }


@pytest.mark.parametrize(
    "name", ["banking77/test.csv", "e2e_nlg/test.csv", "telco_churn/churn.csv", "emoji_captions/captions.csv"]
)
def test_csv_files_read_as_the_standard_library_reads_them(name: str) -> None:
    options = DataOptions(train=name)
    records = list(read_source(DATA / name, inspect_source(DATA / name, options), options))
    with (DATA / name).open(encoding="utf-8", newline="") as stream:
        expected = list(csv.DictReader(stream))
    assert [item.values for item in records if isinstance(item, Record)] == expected


@pytest.mark.parametrize(
    ("name", "rows"),
    [("gsm8k/test.jsonl", 1319), ("toolcall_chat/train.jsonl", 300), ("tatoeba_en_es/test.tsv", 1000)],
)
def test_other_files_read_without_a_problem(name: str, rows: int) -> None:
    options = DataOptions(train=name, header=True)
    records = list(read_source(DATA / name, inspect_source(DATA / name, options), options))
    assert len(records) == rows
    assert all(isinstance(item, Record) for item in records)


def members(archive: str, suffix: str) -> dict[str, bytes]:
    with zipfile.ZipFile(DATA / "bad_inputs" / archive) as opened:
        return {name: opened.read(name) for name in opened.namelist() if name.endswith(suffix)}


def test_csv_spectrum(tmp_path: Path) -> None:
    expected = {Path(name).stem: json.loads(content) for name, content in members("csv_spectrum.zip", ".json").items()}
    for name, content in members("csv_spectrum.zip", ".csv").items():
        path = tmp_path / "rows.csv"
        if "crlf" in name:  # the archive has lost these line endings
            content = content.replace(b"\n", b"\r\n")
        path.write_bytes(content)
        options = DataOptions(train="rows.csv", header=True)
        items = read_source(path, inspect_source(path, options), options)
        rows = [item.values for item in items if isinstance(item, Record)]
        if name == "csvs/location_coordinates.csv":  # its JSON holds one object with another telephone number
            expected[Path(name).stem] = [expected[Path(name).stem] | {"Contact Phone Number": "2095257564"}]
        assert rows == expected[Path(name).stem], name


def read_or_error(path: Path, options: DataOptions) -> list[Record | Problem] | BurnishError:
    try:
        return list(read_source(path, inspect_source(path, options, name=path.name), options))
    except BurnishError as error:
        return error


def test_json_test_suite_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for name, content in members("json_test_suite.zip", ".json").items():
        path.write_bytes(b'{"text": 1}\n' + content)
        items = read_or_error(path, DataOptions(train="rows.jsonl"))
        if isinstance(items, BurnishError):
            assert items.code == "data/wrong-encoding", name
        elif Path(name).name.startswith("n_") and content.strip():
            assert any(isinstance(item, Problem) for item in items), name


def test_legacy_encodings_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for name, content in members("encodings.zip", ".txt").items():
        path.write_bytes(b"text,label\n" + content)
        items = read_or_error(path, DataOptions(train="rows.csv", format="csv", header=True))
        if isinstance(items, BurnishError):
            assert items.where is not None
            assert items.where.startswith("rows.csv:"), name
