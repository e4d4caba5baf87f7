"""`burnish keys`: who may use the service, and for what."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from burnish.errors import UsageError, excerpt

Command = Callable[[str, str, str], argparse.ArgumentParser]
ROLES = ("admin", "writer", "reader", "inference")
UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def arguments(command: Command) -> None:
    keys = command(
        "keys", "make, list and revoke keys of the service", "burnish keys create --role writer --expires 90d"
    )
    keys.add_argument("action", choices=("create", "list", "revoke"))
    keys.add_argument("key", nargs="?", metavar="KEY", help="of revoke: the id of a key, or the key itself")
    keys.add_argument("--role", choices=ROLES, default="writer", help="what it may do (default: writer)")
    keys.add_argument("--project", metavar="NAME", help="whose files, jobs and models (default: default)")
    keys.add_argument("--name", metavar="TEXT", default="", help="for whom or what it is")
    keys.add_argument("--expires", metavar="TIME", help="after 12h, 90d, 4w, or on a day: 2030-12-31")
    keys.add_argument("--requests-per-minute", metavar="N", type=_count)
    keys.add_argument("--concurrency", metavar="N", type=_count, help="requests at once")
    keys.add_argument("--tokens-per-day", metavar="N", type=_count, help="of prompts and answers, until midnight UTC")
    keys.add_argument("--max-jobs", metavar="N", type=_count, help="running at once; more wait in the line")


def run(options: argparse.Namespace) -> int:
    if options.action == "create":
        return _create(options)
    return _list(options) if options.action == "list" else _revoke(options)


def _create(options: argparse.Namespace) -> int:
    from burnish.registry.keys import DEFAULT_PROJECT, create_key
    from burnish.registry.store import open_registry

    if options.key is not None:
        raise UsageError("keys/unexpected", "create takes no key", hint="name it with --name")
    expires = None if options.expires is None else _moment(options.expires, time.time())
    names = ("requests_per_minute", "concurrency", "tokens_per_day", "max_jobs")
    key, text = create_key(
        open_registry(),
        role=options.role,
        project=options.project or DEFAULT_PROJECT,
        name=options.name,
        expires=expires,
        limits={name: getattr(options, name) for name in names},
    )
    if options.json:
        print(json.dumps({"id": key.id, "key": text, "role": key.role, "project": key.project}))
        return 0
    print(text)
    print(f"  {key.role} of the project {key.project}; it is shown this once", file=sys.stderr)
    return 0


def _list(options: argparse.Namespace) -> int:
    from burnish.registry.keys import list_keys
    from burnish.registry.store import open_registry

    found = list_keys(open_registry(), project=options.project)
    if options.json:
        print(json.dumps([key.as_dict() for key in found], ensure_ascii=False))
        return 0
    now = time.time()
    for key in found:
        state = "revoked" if key.revoked is not None else "valid" if key.valid(now) else "expired"
        used = f"used {_day(key.used)}" if key.used else "never used"
        until = f"until {_day(key.expires)}" if key.expires and state == "valid" else ""
        print(*filter(None, (key.id, f"{key.role:9}", key.project, state, until, used, key.name)), sep="  ")
    if not found:
        print("no keys; make one with `burnish keys create`", file=sys.stderr)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from burnish.registry.keys import revoke_key
    from burnish.registry.store import open_registry

    if options.key is None:
        raise UsageError("keys/which", "which key?", hint="burnish keys revoke ID; `burnish keys list` shows the ids")
    key = revoke_key(open_registry(), options.key)
    shown: dict[str, Any] = {"id": key.id, "revoked": key.revoked}
    print(json.dumps(shown) if options.json else f"revoked {key.id}; servers refuse it within a second")
    return 0


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f'"{text}" is no number from 1')
    return int(text)


def _moment(text: str, now: float) -> float:
    import datetime

    """Seconds since the epoch of "90d" or "2030-12-31" (its end, UTC).

    Raises:
        UsageError: [keys/bad-expiry].
    """

    moment = None
    if match := re.fullmatch(r"([0-9]{1,6})([mhdw])", text):
        moment = now + int(match.group(1)) * UNITS[match.group(2)]
    elif re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            day = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
            moment = (day + datetime.timedelta(days=1)).timestamp()
        except (ValueError, OverflowError):
            moment = None
    if moment is None or moment <= now:
        raise UsageError(
            "keys/bad-expiry",
            f'"{excerpt(text)}" is no time to come',
            where="--expires",
            hint="e.g. 12h, 90d, 2030-12-31",
        )
    return moment


def _day(seconds: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")
