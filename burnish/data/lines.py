"""Physical lines of a text file: bounded memory, true line numbers, nothing decoded by guess."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from burnish.data.compressed import DamagedStreamError, ExpansionError, check_expansion, open_bytes
from burnish.data.options import FORMAT_NAMES, DataOptions
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
_ZIP = b"PK\x03\x04"
_FOREIGN_FORMATS = (
    (_ZIP, "a ZIP or Excel file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "a Feather file of the first version"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"SQLite format 3\x00", "an SQLite database"),
)

# Physical line number from 1, and the text without its newline (a "\r" before "\n" is still there);
# None for a line longer than the limit.
Line = tuple[int, str | None]


@dataclass(frozen=True, slots=True)
class TextFile:
    """A regular file of text and how its bytes are read; a compressed one reads like any other.

    Attributes:
        path: where it is.
        name: as the user wrote it: for messages.
        encoding: of the text.
        newline: "\n", or "\r" in files of the old Macintosh kind.
        max_row_bytes: longest line that is read.
        head: the first 256 KiB.
        fits_sample: whether `head` is all there is.
    """

    path: Path
    name: str
    encoding: str
    newline: str
    max_row_bytes: int
    head: bytes
    fits_sample: bool

    def lines(self, first_bytes: int | None = None) -> Iterator[Line]:
        """The lines in order; with `first_bytes`, only those that begin within that many bytes of ASCII text.

        Raises:
            DataReadError: [data/wrong-encoding] at the line that does not decode, [data/damaged-file] at the line
                after which a compressed file cannot be expanded.
        """
        if first_bytes is None:
            yield from self._all_lines()
            return
        start = 0
        for number, text in self._all_lines():
            yield number, text
            start += self.max_row_bytes if text is None else len(text) + 1
            if start >= first_bytes:
                return

    def chunks(self) -> Iterator[str]:
        """The text in pieces of up to 256 KiB, for formats whose rows are not lines.

        Raises:
            DataReadError: as `lines`.
        """
        decoder, number = codecs.getincrementaldecoder(self.encoding)(), 1
        head = _UTF8_BOM
        try:
            for chunk in self._raw_chunks():
                text = decoder.decode(chunk.removeprefix(head))
                head = b""
                yield text
                number += text.count(self.newline)
            decoder.decode(b"", final=True)
        except DamagedStreamError as error:
            raise damaged(f"{self.name}:{number}", str(error)) from None
        except UnicodeDecodeError as error:
            line = number + error.object[: error.start].count(self.newline.encode())
            raise self._wrong_encoding(line, error, "the byte") from None

    def origin(self, line: int) -> Origin:
        return Origin(self.name, line)

    def too_long(self, line: int) -> Problem:
        return Problem("data/row-too-long", f"the row is longer than {self.max_row_bytes:,} bytes", self.origin(line))

    def _all_lines(self) -> Iterator[Line]:
        """At most `max_row_bytes` plus a chunk are held at any time."""
        newline = self.newline.encode()
        number, rest, skipping = 1, b"", False
        try:
            for chunk in self._raw_chunks():
                block, cut, rest = (rest + chunk).rpartition(newline)
                if cut and skipping:  # what is left of a line that was too long
                    _, cut, block = block.partition(newline)
                    yield number, None
                    number, skipping = number + 1, False
                if cut:
                    for line in self._decoded(number, block):
                        yield line
                    number = line[0] + 1
                if len(rest) > self.max_row_bytes:
                    rest, skipping = b"", True
        except DamagedStreamError as error:
            raise damaged(f"{self.name}:{number}", str(error)) from None
        if skipping:
            yield number, None
        elif rest:
            yield from self._decoded(number, rest)

    def _decoded(self, number: int, block: bytes) -> Iterable[Line]:
        """The lines of a block, at one go where none of them can be too long or undecodable."""
        if number == 1:
            block = block.removeprefix(_UTF8_BOM)
        if len(block) <= self.max_row_bytes:
            try:
                return enumerate(block.decode(self.encoding).split(self.newline), number)
            except UnicodeDecodeError:
                pass  # line by line, to find the place
        return self._decoded_one_by_one(number, block)

    def _decoded_one_by_one(self, number: int, block: bytes) -> Iterator[Line]:
        for line, raw in enumerate(block.split(self.newline.encode()), number):
            if len(raw) > self.max_row_bytes:
                yield line, None
                continue
            try:
                yield line, raw.decode(self.encoding)
            except UnicodeDecodeError as error:
                raise self._wrong_encoding(line, error, f"byte {error.start + 1} of the line") from None

    def _raw_chunks(self) -> Iterator[bytes]:
        with reading(self.name), open_bytes(self.path) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk

    def _wrong_encoding(self, line: int, error: UnicodeDecodeError, which: str) -> DataReadError:
        return DataReadError(
            "data/wrong-encoding",
            f"{which} (0x{error.object[error.start]:02x}) is not {self.encoding} text",
            where=f"{self.name}:{line}",
            hint="a file saved by Excel or on Windows: `data: {encoding: cp1252}`; "
            "one damaged line in a file that is fine otherwise: repair or delete it",
        )


def open_text_file(path: Path, name: str, options: DataOptions) -> TextFile:
    """A text file that is there, is regular and can be read as text.

    Raises:
        DataReadError: [data/missing-file], [data/not-a-file], [data/unreadable-file], [data/empty-file],
            [data/wrong-encoding], [data/unknown-encoding], [data/unknown-format], [data/damaged-file],
            [data/needs-package].
    """
    _check_encoding(options.encoding)
    head = read_head(path, name)
    _check_head(head, name)
    start, fits = head[:SAMPLE_BYTES], len(head) <= SAMPLE_BYTES
    newline = "\r" if b"\r" in start and b"\n" not in start else "\n"
    return TextFile(path, name, options.encoding, newline, options.max_row_bytes, start, fits)


def read_head(path: Path, name: str) -> bytes:
    """The first 256 KiB of a regular file, expanded, and one byte more where there are more.

    Raises:
        DataReadError: [data/missing-file], [data/not-a-file], [data/unreadable-file], [data/damaged-file],
            [data/needs-package].
    """
    _check_regular(path, name)
    wanted, pieces = SAMPLE_BYTES + 1, list[bytes]()
    with reading(name), open_bytes(path) as stream:
        try:
            while wanted and (piece := stream.read(wanted)):
                pieces.append(piece)
                wanted -= len(piece)
        except DamagedStreamError as error:
            raise damaged(f"{name}:1", str(error)) from None
    return b"".join(pieces)


def require_bounded(path: Path, name: str) -> None:
    """Raises DataReadError [data/damaged-file] for a compressed file that expands to far more than its size."""
    try:
        with reading(name):
            check_expansion(path)
    except ExpansionError as error:
        hint = "if it is what it should be, expand it yourself and name the result"
        raise DataReadError("data/damaged-file", str(error), where=f"{name}:1", hint=hint) from None


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns the errors of the operating system into one that names the file."""
    try:
        yield
    except OSError as error:
        raise DataReadError(
            "data/unreadable-file", f"cannot be read: {error.strerror}", where=name, hint="check its permissions"
        ) from None


def damaged(where: str, reason: str) -> DataReadError:
    """The error for a file whose bytes are not what its format promises."""
    return DataReadError(
        "data/damaged-file", reason, where=where, hint="copy or download the file again; compare its size and checksum"
    )


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


def _check_regular(path: Path, name: str) -> None:
    """Looked at before opening: opening a FIFO would wait for ever."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path, name) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataReadError("data/unreadable-file", f"cannot be read: {reason}", where=name) from None
    if stat.S_ISDIR(status.st_mode):
        raise DataReadError(
            "data/not-a-file",
            "is a folder",
            where=name,
            hint="name a file in it, or several with a pattern: 'folder/*.csv'",
        )
    if not stat.S_ISREG(status.st_mode):
        raise DataReadError(
            "data/not-a-file", "is a pipe, socket or device", where=name, hint="save the rows to a file first"
        )


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
            hint = "save its rows as CSV, JSONL or Parquet (Parquet and Arrow without gzip or zstd around them)"
            if magic == _ZIP:
                hint += "; of images, unpack the archive and name the folder that holds a folder per class"
            raise DataReadError("data/unknown-format", f"is {what}", where=name, known=FORMAT_NAMES, hint=hint)
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
