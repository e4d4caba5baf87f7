"""The server's own log: a JSON object a line on stderr, without secrets and without what clients sent."""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Iterable
from typing import Any

from burnish.errors import BurnishError, excerpt

FIELDS = ("request_id", "method", "route", "status", "seconds", "ip", "caller", "error", "pid", "code")
SECRETS = (
    (re.compile(r"\bbk_([0-9a-f]{16})_[A-Za-z0-9_-]+"), r"bk_\1_***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+\S+"), r"\1 ***"),
    (re.compile(r"\b(sk|hf|ghp|xox[bap])[-_][A-Za-z0-9_-]{8,}"), r"\1-***"),
    (re.compile(r"(?<=://)[^/\s@]+@"), "***@"),
)


class JsonLines(logging.Formatter):
    """One line for a record: time, level, message, the fields above; of an exception its type and its place.

    The message of an exception that is no `BurnishError` is left out: it may quote what a client sent.
    """

    def __init__(self, hidden: Iterable[str] = ()) -> None:
        super().__init__()
        self._hidden = [text for text in hidden if text]

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None})
        if record.exc_info and record.exc_info[1] is not None:
            line.update(_shown(record.exc_info[1]))
        return self._redacted(json.dumps(line, ensure_ascii=False, default=str))

    def _redacted(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "***")
        for pattern, shown in SECRETS:
            text = pattern.sub(shown, text)
        return text


def _shown(error: BaseException) -> dict[str, Any]:
    chain: list[str] = []
    each: BaseException | None = error
    while each is not None and len(chain) < 5:
        chain += [type(each).__name__, *traceback.format_tb(each.__traceback__)]
        each = each.__cause__ or each.__context__
    said = {"code": error.code, "error": excerpt(error.message, 200)} if isinstance(error, BurnishError) else {}
    return {**said, "exception": chain}


def log_to_stderr(hidden: Iterable[str] = ()) -> None:
    """Every logger of this process writes such lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(hidden))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("burnish").setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
