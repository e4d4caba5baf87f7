"""Files that are compressed with gzip or zstd, read as if they were not, up to a limit on what comes out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from burnish.errors import DataReadError

MAX_RATIO = 100  # bytes out per byte in; text packs 3 to 20 times, logs that repeat themselves 50
FREE_BYTES = 8 * 1024**2  # what any file may expand to: small files of equal rows exceed every ratio
COMPRESSED_SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_FEED = 2048  # compressed bytes at a time: zstd turns each into 32 KiB at most, so 64 MiB are held
_CHUNK_BYTES = 256 * 1024
_ZSTD_WINDOW = 128 * 1024**2  # what `zstd -d` accepts without being asked to


class ByteStream(Protocol):
    """Bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


class DamagedStreamError(Exception):
    """Compressed bytes that cannot be expanded: what the place is, the reader of the lines knows."""


class ExpansionError(DamagedStreamError):
    """Compressed bytes that expand to more than a file of their size ever holds."""


def check_expansion(path: Path) -> None:
    """Expands a compressed file once without keeping it: rows of a bomb would fill the memory before its end.

    Raises:
        ExpansionError: it expands to more than 8 MiB and 100 times its size. Damage is left for the reader to find,
            which knows the line.
    """
    with open_bytes(path) as stream:
        try:
            while isinstance(stream, _Bounded) and stream.read(_CHUNK_BYTES):
                pass
        except ExpansionError:
            raise
        except DamagedStreamError:
            return


@contextmanager
def open_bytes(path: Path) -> Iterator[ByteStream]:
    """The bytes of a file, expanded when they are gzip or zstd.

    Raises:
        OSError: the file cannot be read.
        DamagedStreamError: while reading: the file is cut off, corrupted, or expands too far (`check_expansion`).
        DataReadError: [data/needs-package] for zstd without its package.
    """
    with path.open("rb") as stream:
        kind = compression_of(stream.read(4))
        stream.seek(0)
        if kind is None:
            yield stream
            return
        limit = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
        expanded = _Gzip(stream) if kind == "gzip" else _Zstd(stream, str(path))
        yield _Bounded(expanded, limit)


def compression_of(head: bytes) -> str | None:
    """gzip or zstd by a file's first four bytes, None for anything else."""
    return "gzip" if head.startswith(_GZIP) else "zstd" if head.startswith(_ZSTD) else None


class _Bounded:
    """A stream that refuses to give more than `limit` bytes."""

    def __init__(self, stream: ByteStream, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def read(self, size: int, /) -> bytes:
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise ExpansionError(f"expands to more than {MAX_RATIO} times its size, like a file made to fill memory")
        return chunk


class _Gzip:
    def __init__(self, stream: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=stream)

    def read(self, size: int, /) -> bytes:
        try:
            return self._file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DamagedStreamError(f"is damaged gzip: {error}") from None


class _Zstd:
    """One zstd frame after the other. The package's own reader takes a file that is cut off for a whole one."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        try:
            import zstandard
        except ModuleNotFoundError:
            raise needs_package(name, "zstd", "zstandard") from None
        self._package = zstandard
        self._stream = stream
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._input = b""
        self._output = bytearray()

    def read(self, size: int, /) -> bytes:
        while len(self._output) < size and self._advance():
            pass
        chunk = bytes(self._output[:size])
        del self._output[:size]
        return chunk

    def _advance(self) -> bool:
        """Expands a few more bytes; False at the end of the file."""
        fed = self._input or self._stream.read(_ZSTD_FEED)
        if not fed:
            if self._frame is not None:
                raise DamagedStreamError("is damaged zstd: the file is cut off")
            return False
        if self._frame is None:
            self._frame = self._package.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        try:
            self._output += self._frame.decompress(fed)
        except self._package.ZstdError as error:
            raise DamagedStreamError(f"is damaged zstd: {error}") from None
        self._input = b""
        if self._frame.eof:
            self._input, self._frame = self._frame.unused_data, None
        return True


def needs_package(name: str, extra: str, package: str) -> DataReadError:
    """The error for a file whose reader is an optional package that is not installed."""
    return DataReadError(
        "data/needs-package",
        f"is read with the package {package}, which is not installed",
        where=name,
        hint=f"pip install 'burnish[{extra}]'",
    )
