"""HTTP/1.1 as uvicorn speaks it, with refusals in the protocol's words and no patience for slow headers."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from burnish.api.errors import ErrorBody
from burnish.api.front import MAX_HEADER_BYTES

HEADER_SECONDS = 30.0
MAX_CONNECTIONS = 4096
TEXTS = {
    400: ("The request is not valid HTTP.", "invalid_request"),
    408: ("The headers arrive too slowly.", "request_timeout"),
    431: (f"The headers have more than {MAX_HEADER_BYTES:,} bytes.", "headers_too_large"),
    503: ("The server has too many connections.", "busy"),
}


class Protocol(H11Protocol):
    """One connection."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503)
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._waiting is None and not self.transport.is_closing():
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Called while the error that says more is being handled."""
        error = sys.exc_info()[1]
        self._refuse(431 if getattr(error, "error_status_hint", 400) == 431 else 400)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answers what is no request, and ends the connection."""
        text, code = TEXTS[status]
        answer = ErrorBody(status, text, code=code, retry_after_seconds=2 if status == 503 else None)
        headers = [*answer.raw_headers, (b"connection", b"close"), (b"x-content-type-options", b"nosniff")]
        event = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        try:
            for part in (event, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        except h11.LocalProtocolError:  # in the middle of an answer: there is no way to say it
            pass
        self.transport.close()
