"""Public collections of broken files: what must be read is read, what must be refused is refused, nothing crashes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from burnish.data.options import DataOptions
from burnish.data.records import Record
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataReadError
from burnish.types import Problem

pytestmark = pytest.mark.real_data


@pytest.fixture
def unpacked(shared_data: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    with zipfile.ZipFile(shared_data / "bad_inputs" / request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def read(path: Path, **options: object) -> list[Record | Problem] | DataReadError:
    settings = DataOptions(train=path.name, **options)  # type: ignore[arg-type]
    try:
        return list(read_source(path, inspect_source(path, settings, name=path.name), settings))
    except DataReadError as error:
        assert str(error).startswith(path.name)  # noqa: PT017  # the error is the result
        return error


@pytest.mark.parametrize("unpacked", ["json_test_suite.zip"], indirect=True)
def test_json_test_suite_as_elements_of_an_array(unpacked: Path) -> None:
    """Each document of the suite as the one element of an array: y_ is read or is no object, n_ never is."""
    other_refusals = {"data/not-an-object", "data/duplicate-key"}  # valid JSON that is no row for us
    for path in sorted(unpacked.rglob("*.json")):
        document = path.read_bytes()
        element = path.with_suffix(".element.json")
        element.write_bytes(b"[" + document + b"]")
        items = read(element, format="json")
        kind = path.name[0]
        refused = items.code if isinstance(items, DataReadError) else getattr(items[0], "code", None)
        if kind == "y":
            assert refused is None or refused in other_refusals, path.name
        if kind == "n" and document.strip() and not _is_list_of_elements(document):
            assert refused is not None, path.name


def _is_list_of_elements(document: bytes) -> bool:
    """Whether a document that is wrong alone is right between brackets: `1, 2`."""
    try:
        json.loads(b"[" + document + b"]")
    except (ValueError, RecursionError):
        return False
    return True


@pytest.mark.parametrize("unpacked", ["parquet.zip"], indirect=True)
def test_parquet(unpacked: Path) -> None:
    pytest.importorskip("pyarrow")
    outcomes = {path: read(path) for path in sorted(unpacked.rglob("*.parquet"))}
    whole = {path.name: items for path, items in outcomes.items() if path.parent.name == "data"}
    rows = {name for name, items in whole.items() if not isinstance(items, DataReadError)}
    refusals = {name: str(items) for name, items in whole.items() if isinstance(items, DataReadError)}
    assert len(rows) >= 0.8 * len(whole), refusals
    for items in outcomes.values():
        if not isinstance(items, DataReadError):
            json.dumps([item.values for item in items if isinstance(item, Record)], allow_nan=False)


def test_naughty_strings(shared_data: Path, tmp_path: Path) -> None:
    strings = json.loads((shared_data / "bad_inputs" / "blns.json").read_text("utf-8"))
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": text} for text in strings], indent=1), encoding="utf-8")
    items = read(path)
    assert not isinstance(items, DataReadError)
    assert [item.values["text"] for item in items if isinstance(item, Record)] == strings


@pytest.mark.parametrize("unpacked", ["encodings.zip"], indirect=True)
def test_legacy_encodings_as_plain_text(unpacked: Path) -> None:
    for path in sorted(unpacked.rglob("sample-*.txt")):
        items = read(path)
        if isinstance(items, DataReadError):
            assert items.code == "data/wrong-encoding"
            assert items.where is not None
            assert items.where.rsplit(":", 1)[1].isdigit()
        else:
            path.read_bytes().decode("utf-8")
            assert items
