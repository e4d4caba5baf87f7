"""Physical lines of a text file: bounded memory, true line numbers, nothing decoded by guess."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from burnish.data.options import DataOptions
from burnish.errors import DataReadError, nearest
from burnish.types import Origin, Problem

SAMPLE_BYTES = 256 * 1024  # how much of a file is looked at before its shape is decided
_CHUNK_BYTES = 256 * 1024
_UTF8_BOM = codecs.BOM_UTF8
_WIDE_BOMS = (  # UTF-32 first: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_FOREIGN_FORMATS = (
    (b"PK\x03\x04", "a ZIP or Excel file"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
)

# Physical line number from 1, and the text without its newline (a "\r" before "\n" is still there);
# None for a line longer than the limit.
Line = tuple[int, str | None]


@dataclass(frozen=True, slots=True)
class TextFile:
    """A regular file of text lines and how its bytes are read."""

    path: Path
    name: str  # as the user wrote it: for messages
    encoding: str
    newline: str  # "\n", or "\r" in files of the old Macintosh kind
    max_row_bytes: int
    size_bytes: int

    def lines(self, first_bytes: int | None = None) -> Iterator[Line]:
        """The lines in order; with `first_bytes`, only those that begin within that many bytes.

        Raises:
            DataReadError: [data/wrong-encoding] at the line that does not decode.
        """
        start = 0
        for number, raw in _byte_lines(self.path, self.name, self.newline.encode(), self.max_row_bytes):
            if raw is None:
                start += self.max_row_bytes
                yield number, None
            else:
                start += len(raw) + 1
                yield number, self._decode(number, raw)
            if first_bytes is not None and start >= first_bytes:
                return

    def origin(self, line: int) -> Origin:
        return Origin(self.name, line)

    def too_long(self, line: int) -> Problem:
        return Problem("data/row-too-long", f"the row is longer than {self.max_row_bytes:,} bytes", self.origin(line))

    def _decode(self, number: int, raw: bytes) -> str:
        if number == 1:
            raw = raw.removeprefix(_UTF8_BOM)
        try:
            return raw.decode(self.encoding)
        except UnicodeDecodeError as error:
            raise DataReadError(
                "data/wrong-encoding",
                f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not {self.encoding} text",
                where=f"{self.name}:{number}",
                hint="a file saved by Excel or on Windows: `data: {encoding: cp1252}`; "
                "one damaged line in a file that is fine otherwise: repair or delete it",
            ) from None


def open_text_file(path: Path, name: str, options: DataOptions) -> TextFile:
    """A text file that is there, is regular and can be read as text.

    Raises:
        DataReadError: [data/missing-file], [data/not-a-file], [data/unreadable-file], [data/empty-file],
            [data/wrong-encoding], [data/unknown-encoding], [data/unknown-format].
    """
    _check_encoding(options.encoding)
    size_bytes = _regular_size(path, name)
    with _reading(name), path.open("rb") as stream:
        head = stream.read(SAMPLE_BYTES)
    _check_head(head, name)
    newline = "\r" if b"\r" in head and b"\n" not in head else "\n"
    return TextFile(path, name, options.encoding, newline, options.max_row_bytes, size_bytes)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataReadError(
            "data/unreadable-file", f"cannot be read: {error.strerror}", where=name, hint="check its permissions"
        ) from None


def _byte_lines(path: Path, name: str, newline: bytes, max_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Line numbers and lines without their newline; at most `max_bytes` plus a chunk are held at any time."""
    number, rest, skipping = 1, b"", False
    with _reading(name), path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(newline)
            for line in whole:
                yield number, None if skipping or len(line) > max_bytes else line
                number, skipping = number + 1, False
            if len(rest) > max_bytes:
                rest, skipping = b"", True
    if rest or skipping:
        yield number, None if skipping else rest


def _check_encoding(encoding: str) -> None:
    """Only encodings that leave ASCII bytes alone: lines are cut before they are decoded."""
    probe = b'\n,"\\u0041+AEE-'
    try:
        keeps_ascii = probe.decode(encoding) == probe.decode("ascii")
    except (LookupError, ValueError):
        keeps_ascii = False
    if not keeps_ascii:
        raise DataReadError(
            "data/unknown-encoding",
            f'"{encoding}" is not an encoding burnish reads',
            where="data.encoding",
            known=("utf-8", "cp1252", "latin-1", "and every other Python encoding that keeps ASCII as it is"),
            hint="convert other files to UTF-8 first: `iconv -f UTF-16 -t UTF-8 OLD > NEW`",
        )


def _regular_size(path: Path, name: str) -> int:
    """Size in bytes of a regular file. Looked at before opening: opening a FIFO would wait for ever."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path, name) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataReadError("data/unreadable-file", f"cannot be read: {reason}", where=name) from None
    if stat.S_ISDIR(status.st_mode):
        raise DataReadError("data/not-a-file", "is a folder", where=name, hint="name a CSV, TSV or JSONL file in it")
    if not stat.S_ISREG(status.st_mode):
        raise DataReadError(
            "data/not-a-file", "is a pipe, socket or device", where=name, hint="save the rows to a file first"
        )
    return status.st_size


def _missing(path: Path, name: str) -> DataReadError:
    try:
        siblings = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return DataReadError("data/missing-file", "does not exist, nor does its folder", where=name)
    close = nearest(path.name, siblings)
    advice = "check the path; paths in a recipe start at its folder"
    hint = f'did you mean "{Path(name).with_name(close)}"?' if close else advice
    return DataReadError("data/missing-file", "does not exist", where=name, hint=hint)


def _check_head(head: bytes, name: str) -> None:
    if not head.removeprefix(_UTF8_BOM).strip():
        raise DataReadError("data/empty-file", "is empty", where=name, hint="a data file holds one row per line")
    for magic, what in _FOREIGN_FORMATS:
        if head.startswith(magic):
            raise DataReadError(
                "data/unknown-format",
                f"is {what}",
                where=name,
                known=("csv", "tsv", "jsonl"),
                hint="export its rows as CSV or JSONL",
            )
    wide = next((what for mark, what in _WIDE_BOMS if head.startswith(mark)), None)
    if wide is None and head.count(0) * 5 > len(head):  # ASCII in UTF-16 is half NUL bytes
        wide = "UTF-16 or binary"
    if wide:
        raise DataReadError(
            "data/wrong-encoding",
            f"is {wide}, not UTF-8 text",
            where=f"{name}:1",
            hint=f"save it as UTF-8: `iconv -f {wide.split()[0]} -t UTF-8 {name} > utf-8-{Path(name).name}`",
        )
