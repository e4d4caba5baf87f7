"""Does anything get lost when trainings are killed with SIGKILL at any moment?

    python tests/torture/kill.py --kills 200

Trainings with `full` and `lora` in turn are killed up to seven times each and resumed until they finish. Every second
kill is aimed: it waits until a file is being written anywhere in the run's folder. Exit code 0 when no checkpoint was
lost, nothing needed a repair, nothing was left behind, and every training ended bit for bit like an undisturbed one.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from pathlib import Path

from toy_runs import (
    METHODS,
    Outcome,
    Toys,
    differences,
    leftovers,
    lost_checkpoints,
    parser_of,
    report,
    steps,
    temporaries,
    toys,
)

MOST_KILLS = 7  # of one training
FAULTS = ("lost checkpoints", "manual repairs", "leftovers", "orphan processes", "different ends")


def torture(toys: Toys, *, kills: int, seed: int) -> Outcome:
    outcome, chance, training = Outcome(*FAULTS), random.Random(seed), 0
    outcome.figures |= {"trainings": 0, "kills": 0, "aimed at a write": 0, "of them in the middle of it": 0}
    while outcome.figures["kills"] < kills:
        method = METHODS[training % len(METHODS)]
        whole, run = toys.whole(method), toys.new_run()
        for _ in range(min(chance.randint(1, MOST_KILLS), kills - outcome.figures["kills"])):
            if not _kill_once(toys, method, run, outcome, chance):
                break
        attempt = toys.start(method, run)
        if attempt.wait() != 0:
            outcome.fault("manual repairs", f"{run.name} ({method}): {attempt.printed()[-300:]}")
        outcome.fault("orphan processes", *map(str, attempt.orphans()))
        outcome.fault("leftovers", *(f"{run.name}: {name}" for name in leftovers(run)))
        outcome.fault("different ends", *(f"{run.name} ({method}): {name}" for name in differences(run, whole)))
        training += 1
        outcome.count("trainings")
        shutil.rmtree(run)
    return outcome


def _kill_once(toys: Toys, method: str, run: Path, outcome: Outcome, chance: random.Random) -> bool:
    """Goes on with a run and kills it; False when it ended before."""
    before, old = steps(run), temporaries(run)
    aimed = outcome.figures["kills"] % 2 == 1
    attempt = toys.start(method, run)
    attempt.wait_seconds(chance.uniform(0, toys.seconds[method]))
    if aimed:
        attempt.wait_for(lambda: temporaries(run) - old)
    attempt.kill()
    if attempt.wait() != -signal.SIGKILL:
        return False
    outcome.count("kills")
    outcome.count("aimed at a write", aimed)
    outcome.count("of them in the middle of it", aimed and bool(temporaries(run) - old))
    outcome.fault("orphan processes", *map(str, attempt.orphans()))
    outcome.fault("lost checkpoints", *(f"{run.name}: {what}" for what in lost_checkpoints(run, before)))
    return True


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    started = time.monotonic()
    with toys(options.work) as lab:
        outcome = torture(lab, kills=options.kills, seed=options.seed)
    return report("kill", outcome, seed=options.seed, n=options.kills, started=started)


if __name__ == "__main__":
    sys.exit(main())
