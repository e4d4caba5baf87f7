"""Files that are no text files are refused with their reason; lines keep their numbers and their bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.data.lines import SAMPLE_BYTES, TextFile, open_text_file
from burnish.data.options import FORMAT_NAMES, DataOptions
from burnish.errors import DataReadError

OpenText = Callable[..., TextFile]
OPTIONS = DataOptions(train="rows.csv")


def refusal(path: Path, options: DataOptions = OPTIONS) -> DataReadError:
    with pytest.raises(DataReadError) as caught:
        list(open_text_file(path, path.name, options).lines())
    return caught.value


def refused_content(folder: Path, content: bytes, **options: Any) -> DataReadError:
    path = folder / "rows.csv"
    path.write_bytes(content)
    return refusal(path, DataOptions(train="rows.csv", **options))


def test_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").touch()
    error = refusal(tmp_path / "tikets.csv")
    assert (error.code, error.where) == ("data/missing-file", "tikets.csv")
    assert error.hint == 'did you mean "tickets.csv"?'


def test_missing_folder(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere" / "rows.csv")
    assert (error.code, error.message) == ("data/missing-file", "does not exist, nor does its folder")


def test_file_used_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    assert refusal(tmp_path / "rows.csv" / "more.csv").code == "data/missing-file"


def test_folder(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert (error.code, error.message, error.where) == ("data/not-a-file", "is a folder", tmp_path.name)


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    error = refusal(tmp_path / "pipe")
    assert (error.code, error.message) == ("data/not-a-file", "is a pipe, socket or device")


def test_device() -> None:
    assert refusal(Path("/dev/zero")).code == "data/not-a-file"


@pytest.mark.parametrize("name", ["nul\0byte.csv", "x" * 5000])
def test_impossible_path(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name).code == "data/unreadable-file"


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "rows.csv").write_text("a,b\n")
    monkeypatch.setattr(Path, "open", refuse)
    error = refusal(tmp_path / "rows.csv")
    assert (error.code, error.where) == ("data/unreadable-file", "rows.csv")
    assert error.message == "cannot be read: Permission denied"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n\t"])
def test_empty_file(tmp_path: Path, content: bytes) -> None:
    error = refused_content(tmp_path, content)
    assert (error.code, error.where) == ("data/empty-file", "rows.csv")


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"PK\x03\x04rest", "a ZIP or Excel file"), (b"PAR1rest", "a Parquet file"), (b"BZhrest", "a bzip2 file")],
)
def test_other_formats_are_named(tmp_path: Path, content: bytes, what: str) -> None:
    error = refused_content(tmp_path, content)
    assert (error.code, error.message) == ("data/unknown-format", f"is {what}")
    assert error.known == FORMAT_NAMES


@pytest.mark.parametrize(
    ("encoding", "what"),
    [("utf-16", "UTF-16"), ("utf-32", "UTF-32"), ("utf-16-be", "UTF-16 or binary")],
)
def test_wide_encodings_are_named(tmp_path: Path, encoding: str, what: str) -> None:
    error = refused_content(tmp_path, "text,label\nhello,a\n".encode(encoding))
    assert (error.code, error.where) == ("data/wrong-encoding", "rows.csv:1")
    assert error.message == f"is {what}, not UTF-8 text"
    assert error.hint == f"save it as UTF-8: `iconv -f {what.split()[0]} -t UTF-8 rows.csv > utf-8-rows.csv`"


def test_wrong_encoding_names_line_and_byte(tmp_path: Path) -> None:
    error = refused_content(tmp_path, "text,label\ncafé,a\n".encode("cp1252"))
    assert (error.code, error.where) == ("data/wrong-encoding", "rows.csv:2")
    assert error.message == "byte 4 of the line (0xe9) is not utf-8 text"
    assert error.hint is not None
    assert "data: {encoding: cp1252}" in error.hint


def test_encoding_option(text_file: OpenText) -> None:
    file = text_file("café\n".encode("cp1252"), encoding="cp1252")
    assert list(file.lines()) == [(1, "café")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf8000", "base64", "rot13", "cp037", "utf-7", "nul\0"])
def test_encodings_that_are_unknown_or_not_made_of_ascii(tmp_path: Path, encoding: str) -> None:
    error = refused_content(tmp_path, b"a,b\n", encoding=encoding)
    assert (error.code, error.where) == ("data/unknown-encoding", "data.encoding")
    assert encoding in error.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_mark_is_no_part_of_the_text(text_file: OpenText, encoding: str) -> None:
    file = text_file(b"\xef\xbb\xbftext\nhello", encoding=encoding)
    assert list(file.lines()) == [(1, "text"), (2, "hello")]


def test_carriage_returns_are_kept_for_the_reader_to_judge(text_file: OpenText) -> None:
    assert list(text_file(b"a\r\nb\rc\n").lines()) == [(1, "a\r"), (2, "b\rc")]


def test_lines_that_end_with_carriage_returns_only(text_file: OpenText) -> None:
    file = text_file(b"a\rb\r")
    assert file.newline == "\r"
    assert list(file.lines()) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("size", [1025, 300_000, 1_000_000])
def test_long_line_is_passed_over_and_keeps_its_number(text_file: OpenText, size: int) -> None:
    file = text_file(b"a\n" + b"x" * size + b"\nb\n" + b"y" * size, max_row_bytes=1024)
    assert list(file.lines()) == [(1, "a"), (2, None), (3, "b"), (4, None)]
    assert file.too_long(2).as_dict()["reason"] == "the row is longer than 1,024 bytes"


def test_line_of_exactly_the_limit_is_read(text_file: OpenText) -> None:
    assert list(text_file(b"x" * 1024 + b"\n", max_row_bytes=1024).lines()) == [(1, "x" * 1024)]


def test_sample_ends_with_the_line_that_crosses_its_limit(text_file: OpenText) -> None:
    file = text_file(b"x" * 99 + b"\n" + b"y" * 99 + b"\n" + b"z" * SAMPLE_BYTES)
    assert [number for number, _ in file.lines(first_bytes=101)] == [1, 2]
