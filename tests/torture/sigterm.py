"""What does a SIGTERM cost, and how long does it take?

    python tests/torture/sigterm.py --signals 20 --second-signals 5

SIGTERM at random moments between a run's first file and its end. Exit code 0 when every process exited with 143, its
newest checkpoint held the last step it had logged, and the resumed training ended bit for bit like an undisturbed
one. A second SIGTERM shortly after the first stops at once: steps may be lost then, nothing else.
"""

from __future__ import annotations

import random
import shutil
import signal
import statistics
import sys
import time
from pathlib import Path

from toy_runs import (
    METHODS,
    Attempt,
    Outcome,
    Toys,
    differences,
    last_logged_step,
    leftovers,
    lost_checkpoints,
    manifest_of,
    parser_of,
    report,
    steps,
    toys,
)

FAULTS = ("other exit codes", "tracebacks", "lost steps", "lost checkpoints", "leftovers", "different ends")
SECOND_AFTER_SECONDS = 0.002
MOST_SECONDS = 10.0  # before whoever sends it gives up; a preempted machine has 30


def torture(toys: Toys, *, signals: int, seed: int, second: bool = False) -> Outcome:
    outcome, chance, waited = Outcome(*FAULTS, "late exits"), random.Random(seed), list[float]()
    outcome.figures |= {"signals": 0, "while training": 0, "stopped at once": 0}
    while outcome.figures["signals"] < signals:
        method = METHODS[outcome.figures["signals"] % len(METHODS)]
        whole, run = toys.whole(method), toys.new_run()
        attempt = toys.start(method, run)
        attempt.wait_for((run / "manifest.json").exists)
        if attempt.wait_seconds(chance.uniform(0, toys.seconds[method])):
            waited.append(_terminate(attempt, second=second))
            if attempt.wait() != 0:
                _judge(attempt, run, f"{run.name} ({method})", second, outcome)
                toys.start(method, run).wait()
                outcome.fault("leftovers", *(f"{run.name}: {name}" for name in leftovers(run)))
                outcome.fault("different ends", *(f"{run.name} ({method}): {name}" for name in differences(run, whole)))
            else:
                outcome.count("finished all the same", manifest_of(run)["status"] == "finished")
        shutil.rmtree(run)
    outcome.figures |= {"seconds to exit, median": round(statistics.median(waited), 3)}
    outcome.figures |= {"seconds to exit, longest": round(max(waited), 3)}
    outcome.fault("late exits", *(f"{seconds:.1f} s" for seconds in waited if seconds > MOST_SECONDS))
    return outcome


def _terminate(attempt: Attempt, *, second: bool) -> float:
    """Seconds from the (first) signal to the exit."""
    sent = time.monotonic()
    attempt.process.terminate()
    if second:
        time.sleep(SECOND_AFTER_SECONDS)
        attempt.process.terminate()
    attempt.wait()
    return time.monotonic() - sent


def _judge(attempt: Attempt, run: Path, what: str, second: bool, outcome: Outcome) -> None:
    outcome.count("signals")
    outcome.count("while training", "stopped by a signal after step" in attempt.printed())
    outcome.count("stopped at once", attempt.printed().endswith("stopped\n"))
    if attempt.wait() != 128 + signal.SIGTERM:
        outcome.fault("other exit codes", f"{what}: {attempt.wait()} {attempt.printed()[-200:]}")
    if "Traceback" in attempt.printed():
        outcome.fault("tracebacks", f"{what}: {attempt.printed()[-600:]}")
    newest, last = max(steps(run), default=0), last_logged_step(run)
    if newest != last and not second:
        outcome.fault("lost steps", f"{what}: newest checkpoint {newest}, last step {last}")
    outcome.fault("lost checkpoints", *(f"{what}: {lost}" for lost in lost_checkpoints(run, steps(run))))


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--signals", type=int, default=20)
    parser.add_argument("--second-signals", type=int, default=5)
    options = parser.parse_args()
    code = 0
    with toys(options.work) as lab:
        for name, signals, second in (
            ("sigterm", options.signals, False),
            ("sigterm_twice", options.second_signals, True),
        ):
            started = time.monotonic()
            outcome = torture(lab, signals=signals, seed=options.seed, second=second)
            code |= report(name, outcome, seed=options.seed, n=signals, started=started)
    return code


if __name__ == "__main__":
    sys.exit(main())
