"""Runs the application: listens, says when it is ready, and on SIGTERM finishes what it has begun."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from burnish.api.app import make_app
from burnish.api.front import MAX_HEADER_BYTES, Rules
from burnish.api.logs import log_to_stderr
from burnish.api.protocol import Protocol
from burnish.lifecycle.service import Service
from burnish.settings import settings

LOGGER = logging.getLogger("burnish.api")
DRAIN_SECONDS = 30.0  # that requests which have begun may take until they end


class Server(uvicorn.Server):
    """Goes on listening while it drains: health checks see 503 on /ready, and new requests are told when to retry."""

    def __init__(
        self, config: uvicorn.Config, rules: Rules, ready: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._rules = rules
        self._ready = ready
        self._drain_until = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one ends at once."""
        if self._rules.draining:
            self.should_exit = self.force_exit = True
            return
        self._rules.draining = True
        self._drain_until = time.monotonic() + DRAIN_SECONDS
        self._stopping()

    async def on_tick(self, counter: int) -> bool:
        if self._rules.draining and (self._rules.running == 0 or time.monotonic() > self._drain_until):
            self.should_exit = True
        return await super().on_tick(counter)


def run(
    service: Service,
    *,
    listener: socket.socket,
    rules: Rules,
    open_without_keys: bool,
    ready: Callable[[], None],
    stopping: Callable[[], None],
    certfile: Path | None = None,
    keyfile: Path | None = None,
) -> bool:
    """Serves until a signal ends it; gives whether a second one told it to end at once.

    Args:
        ready: called when requests are taken.
        stopping: called at the first signal.
    """
    url = settings().database_url
    log_to_stderr([] if url is None else [url.get_secret_value()])
    app = make_app(service, rules=rules, open_without_keys=open_without_keys)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,  # what has not ended by then is cut off
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ssl_certfile=None if certfile is None else str(certfile),
        ssl_keyfile=None if keyfile is None else str(keyfile),
    )
    server = Server(config, rules, ready, stopping)
    server.run([listener])
    return server.force_exit
