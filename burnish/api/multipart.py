"""A multipart form with one file, which goes to the disk piece by piece while it arrives."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from burnish.errors import ServiceError

PIECE_BYTES = 1_048_576  # that go to the disk at once
MAX_FIELD_BYTES = 4096
MAX_FIELDS = 32
MAX_OVERHEAD_BYTES = 262_144  # of everything that is not the file


class Form:
    """What a form says besides its file."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None  # None until the file has begun


async def read_form(request: Request, file_field: str, write: Callable[[bytes], None]) -> Form:
    """Reads a form; the bytes of its file go to `write`, in a thread.

    Raises:
        ServiceError: [files/bad-form] (400), [files/no-file]; whatever `write` raises.
    """
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise _bad("the body must be multipart/form-data")
    reader = _Reader(boundary, file_field)
    async for chunk in request.stream():
        reader.feed(chunk)
        if len(reader.waiting) >= PIECE_BYTES:
            await run_in_threadpool(write, reader.taken())
    reader.end()
    if reader.waiting:
        await run_in_threadpool(write, reader.taken())
    if reader.form.filename is None:
        raise ServiceError(
            "files/no-file",
            f'the form has no file "{file_field}"',
            status=400,
            param=file_field,
            kind="missing_required_parameter",
        )
    return reader.form


class _Reader:
    """The parser's callbacks."""

    def __init__(self, boundary: str, file_field: str) -> None:
        self.form = Form()
        self.waiting = bytearray()
        self._file_field = file_field.encode()
        self._name: bytes = b""
        self._in_file = False
        self._value = bytearray()
        self._header = bytearray()
        self._disposition = bytearray()
        self._header_value = bytearray()
        self._overhead = 0
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary.encode("latin-1"),
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_end,
                    "on_end": self._finished,
                },
            )
        except (FormParserError, UnicodeEncodeError) as error:
            raise _bad("the form's boundary is not usable") from error

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _bad("the form is malformed") from error

    def end(self) -> None:
        if not self._complete:
            raise _bad("the form ends too early")

    def taken(self) -> bytes:
        piece = bytes(self.waiting)
        self.waiting.clear()
        return piece

    def _begin(self) -> None:
        self._name, self._in_file = b"", False
        self._value.clear()
        self._disposition.clear()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._weigh(end - start)
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._weigh(end - start)
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition[:] = self._header_value
        self._header.clear()
        self._header_value.clear()

    def _on_headers(self) -> None:
        _, options = parse_options_header(bytes(self._disposition))
        self._name = options.get(b"name", b"")
        if self._name == self._file_field:
            if self.form.filename is not None:
                raise _bad("the form has more than one file")
            self._in_file = True
            self.form.filename = options.get(b"filename", b"upload").decode("utf-8", "replace") or "upload"

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.waiting += data[start:end]
            return
        self._weigh(end - start)
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise _bad(f"a field of the form has more than {MAX_FIELD_BYTES:,} bytes")

    def _on_end(self) -> None:
        if self._in_file:
            return
        if len(self.form.fields) >= MAX_FIELDS:
            raise _bad(f"the form has more than {MAX_FIELDS} fields")
        try:
            self.form.fields[self._name.decode()] = self._value.decode()
        except UnicodeDecodeError as error:
            raise _bad("a field of the form is not UTF-8") from error

    def _finished(self) -> None:
        self._complete = True

    def _weigh(self, size: int) -> None:
        self._overhead += size
        if self._overhead > MAX_OVERHEAD_BYTES:
            raise _bad("the form has too much beside its file")


def _bad(message: str) -> ServiceError:
    return ServiceError("files/bad-form", message, status=400, kind="invalid_form")
