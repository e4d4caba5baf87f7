"""`burnish monitor`: are new rows still like those a model was judged on?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    monitor = command(
        "monitor", "compare new rows with those a run was judged on", "burnish monitor RUN --data today.jsonl"
    )
    monitor.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    monitor.add_argument("--data", metavar="F", required=True, help="file of new rows; labels are not needed")
    monitor.add_argument("--labels", action="store_true", help="the rows have labels: measure how good the answers are")
    monitor.add_argument(
        "--alpha", metavar="A", type=float, help="chance of a false alarm, 0.001 to 0.2 (default: the recipe's, 0.01)"
    )
    monitor.add_argument("--html", metavar="FILE", help="also write what was found as a page")


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.cli.show_monitor import show_monitor
    from burnish.lifecycle.monitor import monitor

    found = monitor(options.run, options.data, labels=options.labels, alpha=options.alpha, progress=TerminalProgress())
    if options.html:
        from burnish.monitoring.page import render_monitor
        from burnish.storage.durable import write_text

        write_text(Path(options.html), render_monitor(found))
    print(json.dumps(found, ensure_ascii=False) if options.json else show_monitor(found))
    return 1 if found["answer"] == "drift" else 0
