"""Compressed files read like others; damaged ones, and those that expand without end, are refused at their line."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.data import compressed
from burnish.data.lines import TextFile
from burnish.data.records import Record, SourceShape
from burnish.errors import DataReadError
from burnish.types import Problem

Read = Callable[..., tuple[SourceShape, list[Record | Problem]]]
CSV = b"text,label\n" + b"".join(b"this is row %d,%d\n" % (i, i % 7) for i in range(20_000))  # about 400 kB


def zstd(content: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(content))


def refused(read: Read, content: bytes, name: str) -> DataReadError:
    with pytest.raises(DataReadError) as caught:
        read(content, name)
    return caught.value


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_rows_are_those_of_the_plain_file(read: Read, pack: Callable[[bytes], bytes]) -> None:
    plain = read(CSV, "rows.csv")[1]
    assert [r.values for r in read(pack(CSV), "rows.csv.gz")[1]] == [r.values for r in plain]  # type: ignore[union-attr]
    assert [r.origin.line for r in read(pack(CSV), "rows.csv.zst")[1]] == [r.origin.line for r in plain]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_several_members_are_one_file(read: Read, pack: Callable[[bytes], bytes]) -> None:
    assert len(read(pack(b"text,label\na,b\n") + pack(b"c,d\n"), "rows.csv.gz")[1]) == 2


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.JSONL.GZ", "rows"])
def test_format_is_that_of_the_inner_name_or_content(read: Read, name: str) -> None:
    assert read(gzip.compress(b'{"text": "a"}\n'), name)[0].format == "jsonl"


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_cut_off(read: Read, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(CSV)
    error = refused(read, packed[: -len(packed) // 5], "rows.csv.gz")
    assert error.code == "data/damaged-file"
    assert error.where is not None
    assert error.where.startswith("rows.csv.gz:")
    assert error.hint is not None
    assert "again" in error.hint
    assert refused(read, pack(CSV)[:30], "rows.csv.gz").where == "rows.csv.gz:1"


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_corrupted(read: Read, pack: Callable[[bytes], bytes]) -> None:
    packed = bytearray(pack(CSV))
    packed[len(packed) // 2 : len(packed) // 2 + 50] = bytes(50)
    assert refused(read, bytes(packed), "rows.csv.gz").code == "data/damaged-file"


def test_bomb(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "FREE_BYTES", 1024**2)
    monkeypatch.setattr(TextFile, "lines", lambda *_: pytest.fail("rows were read before the size was known"))
    packer = zlib.compressobj(wbits=31)
    content = packer.compress(b"text,label\n") + packer.compress((b"a" * 996 + b",b\n") * 20_000) + packer.flush()
    error = refused(read, content, "rows.csv.gz")
    assert (error.code, error.where) == ("data/damaged-file", "rows.csv.gz:1")
    assert "100 times its size" in error.message
    monkeypatch.undo()
    assert read(gzip.compress(b"text,label\n" + b"a,b\n" * 1000), "rows.csv.gz")[1]


def test_zstd_without_its_package(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    error = refused(read, b"\x28\xb5\x2f\xfd", "rows.csv.zst")
    assert (error.code, error.hint) == ("data/needs-package", "pip install 'burnish[zstd]'")
    assert error.where is not None
    assert error.where.endswith("rows.csv.zst")


def test_compression_goes_by_content_not_by_name(read: Read, tmp_path: Path) -> None:
    assert len(read(b"text,label\na,b\n", "rows.csv.gz")[1]) == 1
    assert compressed.compression_of(b"\x1f\x8b\x08\x00") == "gzip"
    assert compressed.compression_of(b"text") is None
