"""`burnish verify`: is everything stored what was stored?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

from burnish.errors import DamagedStoreError

Command = Callable[[str, str, str], argparse.ArgumentParser]


def arguments(command: Command) -> None:
    verify = command("verify", "compare every stored version with what was stored", "burnish verify")
    verify.add_argument("--home", metavar="FOLDER", help="of a copy made by `burnish backup` (default: your own)")


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.evaluation import wording
    from burnish.lifecycle.housekeeping import verify

    found = verify(options.home, progress=TerminalProgress())["damages"]
    said = "\n".join(map(wording.visible, found)) or "everything is what was stored"
    print(json.dumps({"damages": found}, ensure_ascii=False) if options.json else said)
    return DamagedStoreError.exit_code if found else 0
