"""`burnish log`: who changed what through the service, and whether the log is whole."""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from burnish.errors import DamagedStoreError

Command = Callable[[str, str, str], argparse.ArgumentParser]


def arguments(command: Command) -> None:
    log = command("log", "show or verify the log of what was changed through the service", "burnish log verify")
    log.add_argument("action", nargs="?", choices=("show", "verify"), default="show")
    log.add_argument("--last", metavar="N", type=_count, default=50, help="entries to show (default: 50)")
    log.add_argument("--project", metavar="NAME", help="only entries of this project")


def run(options: argparse.Namespace) -> int:
    from burnish.lifecycle.service import open_service
    from burnish.registry.log import ServiceLog

    service = open_service()
    log = ServiceLog(service.registry, service.folder)
    if options.action == "verify":
        found = log.damages()
        said = "\n".join(found) or "the log is what was written"
        print(json.dumps({"damages": found}) if options.json else said)
        return DamagedStoreError.exit_code if found else 0
    entries = (e for e in log.entries() if options.project is None or e.get("project") == options.project)
    newest = list(deque(entries, maxlen=options.last))
    if options.json:
        print(json.dumps(newest, ensure_ascii=False))
        return 0
    for entry in newest:
        print(_shown(entry))
    return 0


def _shown(entry: dict[str, Any]) -> str:
    import datetime

    from burnish.evaluation.wording import visible

    try:
        when = datetime.datetime.fromtimestamp(float(entry["time"]), datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        when = "?"
    names = ("ip", "key", "project", "what", "object", "status", "event")
    return "  ".join([when, *(visible(str(entry[name])) for name in names if entry.get(name) is not None)])


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 10**9:
        raise argparse.ArgumentTypeError(f'"{text}" is no number from 1')
    return int(text)
