"""`burnish gc`: versions that nobody needs, shown or deleted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

Command = Callable[[str, str, str], argparse.ArgumentParser]


def arguments(command: Command) -> None:
    gc = command(
        "gc",
        "delete stored versions that no alias, no rollback and no lineage needs",
        "burnish gc --older-than-days 90",
    )
    gc.add_argument(
        "--older-than-days", metavar="D", type=_days, default=30.0, help="since they were stored (default: 30)"
    )
    gc.add_argument("--yes", action="store_true", help="delete them; otherwise only say what would go")


def run(options: argparse.Namespace) -> int:
    from burnish.evaluation import wording
    from burnish.lifecycle.housekeeping import collect_garbage

    found = collect_garbage(older_than_days=options.older_than_days, yes=options.yes)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for version in found["versions"]:
        print(f"{version['kind']}  {version['label']}  {version['id'][:12]}  {wording.size(version['size_bytes'])}")
    many = wording.count(len(found["versions"]), "versions")
    size = wording.size(found["size_bytes"])
    if not found["versions"]:
        print("nothing to delete: every version is needed or young", file=sys.stderr)
    else:
        print(
            f"deleted {many}, {size}" if options.yes else f"would delete {many}, {size}; do it with --yes",
            file=sys.stderr,
        )
    return 0


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f'"{text}" is no number of days')
    return days
