"""`burnish backup`: a copy of everything stored, as of one moment."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

Command = Callable[[str, str, str], argparse.ArgumentParser]


def arguments(command: Command) -> None:
    backup = command(
        "backup", "copy the registry and the data versions, as of one moment", "burnish backup /mnt/backups/monday"
    )
    backup.add_argument("folder", metavar="FOLDER", help="a new one; as BURNISH_HOME it works like the original")


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.evaluation import wording
    from burnish.lifecycle.housekeeping import backup

    made = backup(options.folder, progress=TerminalProgress())
    said = f"{wording.count(made['versions'], 'versions')} and {wording.count(made['data_versions'], 'data versions')}"
    said += f", {wording.size(made['size_bytes'])}, in {made['folder']}"
    print(json.dumps(made, ensure_ascii=False) if options.json else said)
    return 0
