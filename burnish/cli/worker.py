"""`burnish worker`: a process that runs the jobs of the service."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    parser = command("worker", "run the jobs that wait, until it is stopped", "burnish worker --model models/tiny")
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        action="append",
        default=[],
        help="a base that jobs may start from, as with serve; NAME=FOLDER for another name; may be repeated",
    )
    parser.add_argument(
        "--slot", choices=("cpu", "gpu"), default="cpu", help="gpu: also the jobs that ask for one, and those first"
    )
    parser.add_argument(
        "--end-with-stdin", action="store_true", help="stop when stdin ends, as it does when who started it is gone"
    )
    parser.add_argument("--once", action="store_true", help="end when nothing waits any more")
    parser.add_argument("--threads", metavar="N", type=_count, help="CPU threads of a training (one per core)")
    parser.add_argument(
        "--minimum-rows", metavar="N", type=_count, default=10, help="rows that a training file needs (10)"
    )
    failing = parser.add_argument_group("when something dies")
    failing.add_argument(
        "--lease",
        metavar="SECONDS",
        type=_seconds,
        default=30.0,
        help="without a sign of life for so long, another worker takes the job (30)",
    )
    failing.add_argument(
        "--retries", metavar="N", type=int, default=3, help="of a job whose machine failed, since its last state (3)"
    )
    failing.add_argument(
        "--backoff", metavar="SECONDS", type=_seconds, default=10.0, help="before the first retry, then doubled (10)"
    )


def run(options: argparse.Namespace) -> int:
    import signal
    import threading

    from burnish.lifecycle.service import open_service
    from burnish.lifecycle.work import Stopping, WorkerOptions, work

    if options.threads is not None:
        os.environ["BURNISH_THREADS"] = str(options.threads)  # which the trainer reads
    service = open_service(models=options.model, minimum_rows=options.minimum_rows)
    stopping = Stopping()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.ask())
    if options.end_with_stdin:
        threading.Thread(target=_ask_at_the_end, args=(stopping.ask,), daemon=True).start()
    chosen = WorkerOptions(
        slot=options.slot,
        once=options.once,
        lease_seconds=options.lease,
        retries=options.retries,
        backoff_seconds=options.backoff,
    )
    worked = work(service, chosen, stopping=stopping, say=_say)
    if options.json:
        print(json.dumps({"attempts": worked}))
    return 0


def _ask_at_the_end(ask: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ask()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a number of 1 or more: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0: {text!r}")
    return seconds
