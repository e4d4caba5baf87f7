"""Does a token cost the same whatever the number of rows, and where does memory grow with them?

    python benchmarks/scaling.py --pairs 3

1,024, 10,240 and 102,400 training rows, each size in processes of its own: full fine-tuning of MiniLM for a fixed
number of steps of 32 rows. The rows are banking77's with half of their words exchanged for others of the set, so that
all of them differ, their lengths do not depend on the size, and nothing is left out as a repetition. Seconds per token
go from the end of one step to the end of another, with all that lies between them. Memory is the process's resident
size when training begins, and its peak before and during training (where the system cannot set the peak back, which
Linux can, the second one includes the first). What grows is said per row, stage by stage, from the smallest size to
the largest.

Prints tables and writes benchmarks/results/scaling.json. Needs the extras demo and dev.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from measuring import (
    HELD_OUT,
    Figures,
    Measured,
    Place,
    Row,
    StepClock,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    read_rows,
    report,
    run_arm,
    table,
    take_turns,
    train_steps,
    with_range,
    write_parts,
)

SIZES = (1_024, 10_240, 102_400)  # whole steps of 32 rows
QUICK_SIZES = (256, 1_024)
BATCH, WARM_UP = 32, 5  # rows per optimizer step; steps that are not counted


class StageClock(StepClock):
    """Notes what each stage of a run took: seconds, and the memory that was resident at its end and at its peak."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.stages: list[Figures] = []
        self._name, self._began = "start", time.monotonic()
        _reset_peak()

    def stage(self, name: str) -> None:
        self.end()
        self._name, self._began = name, time.monotonic()

    def end(self) -> None:
        """Closes the stage that is going on."""
        import psutil

        seconds, resident = time.monotonic() - self._began, int(psutil.Process().memory_info().rss)
        self.stages.append(
            {"name": self._name, "seconds": seconds, "resident_bytes": resident, "peak_bytes": _peak_bytes()}
        )
        _reset_peak()


def _reset_peak() -> None:
    """Sets the peak of the resident size back to its present value, where the system can (Linux: proc(5))."""
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_text("5", encoding="ascii")


def _peak_bytes() -> int:
    """The largest resident size since the last reset; since the start of the process where there is none."""
    from burnish.lifecycle.environment import peak_memory_bytes

    if not CLEAR_REFS.exists():
        return peak_memory_bytes()
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def size_arm(place: Place, *, files: dict[str, str], steps: int) -> Figures:
    import burnish.lifecycle.workbench  # noqa: F401  # what every size needs is there before the first stage

    clock, output = StageClock(steps), place.work / "run"
    train_steps(files, clock, output, "training.log_every_steps=1")
    clock.end()
    before, training = clock.stages[:-1], clock.stages[-1]
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text("utf-8").splitlines()]
    tokens = [BATCH * line["tokens_per_second"] / line["rows_per_second"] for line in lines[WARM_UP:]]
    return {
        "seconds_per_token": (clock.times[-1] - clock.times[WARM_UP - 1]) / sum(tokens),
        "tokens_per_step": statistics.mean(tokens),
        "seconds_before": sum(stage["seconds"] for stage in before),
        "resident_bytes": before[-1]["resident_bytes"],
        "peak_before_bytes": max(stage["peak_bytes"] for stage in before),
        "peak_training_bytes": training["peak_bytes"],
        "stages": clock.stages,
    }


def varied(rows: list[Row], count: int, seed: int) -> list[Row]:
    """`count` different rows: each word of a random row is exchanged for any other word of the set, or not."""
    draw = random.Random(seed)
    words = [word for row in rows for word in row.text.split()]
    found: dict[str, Row] = {}
    while len(found) < count:
        row = draw.choice(rows)
        text = " ".join(draw.choice(words) if draw.random() < 0.5 else word for word in row.text.split())
        found.setdefault(text.casefold(), Row(text, row.label))
    return list(found.values())


def sizes_table(measured: Measured) -> tuple[str, dict[str, list[float]]]:
    """A line for each size, and the cost of a token divided by that of the smallest size, round by round."""
    smallest = next(iter(measured))
    ratios = {arm: quotients(measured, arm, smallest, "seconds_per_token") for arm in measured}
    lines = []
    for arm in measured:
        memory = [
            f"{median_of(measured, arm, field) / 1e6:,.0f}"
            for field in ("resident_bytes", "peak_before_bytes", "peak_training_bytes")
        ]
        cost, before = median_of(measured, arm, "seconds_per_token"), median_of(measured, arm, "seconds_before")
        against = with_range(ratios[arm]) if arm != smallest else ""
        lines.append([f"{int(arm):,}", f"{1e6 * cost:.0f}", against, f"{before:.1f}", *memory])
    head = ["rows", "µs per token", f"of {int(smallest):,} rows'", "s before training", "MB when it begins"]
    return table([*head, "peak MB before", "peak MB in training"], lines), ratios


def growth_table(measured: Measured) -> tuple[str, list[Figures]]:
    """What a stage of a run takes more per row, from the smallest size to the largest; medians over the rounds."""
    small, *_, large = measured
    more = int(large) - int(small)
    grown: list[Figures] = []
    for place, stage in enumerate(measured[large][0]["stages"]):
        per_row: Figures = {"stage": stage["name"]}
        for field in ("seconds", "resident_bytes", "peak_bytes"):
            low, high = (
                statistics.median(one["stages"][place][field] for one in measured[arm]) for arm in (small, large)
            )
            per_row[field] = (high - low) / more
        grown.append(per_row)
    lines = [
        [one["stage"], f"{1e3 * one['seconds']:.3f}", f"{one['resident_bytes']:,.0f}", f"{one['peak_bytes']:,.0f}"]
        for one in grown
    ]
    return table(["stage", "ms per row", "bytes per row at its end", "bytes per row at its peak"], lines), grown


def main() -> None:
    found = parser(str(__doc__), pairs=3)
    found.add_argument("--steps", type=int, default=45)
    found.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="ROWS")
    options = parsed(found)
    if answer({"size": size_arm}, options):
        return
    sizes, steps = (QUICK_SIZES, WARM_UP + 3) if options.quick else (options.sizes, options.steps)
    name, rows = read_rows("train")
    with tempfile.TemporaryDirectory() as folder:
        arms: dict[str, Any] = {}
        for size in sorted(sizes):
            place = Path(folder) / str(size)
            place.mkdir()
            files = write_parts(place, varied(rows, size + HELD_OUT, options.seed), size, options.seed)
            given = {"files": files, "steps": steps}
            arms[str(size)] = partial(run_arm, __file__, "size", given, threads=options.threads)
        measured = take_turns(arms, options.pairs)
    shown, ratios = sizes_table(measured)
    more_shown, growth = growth_table(measured)
    result = {"data": name, "steps": steps, "measured": measured, "ratios": ratios, "growth_per_row": growth}
    report(__file__, options, f"{shown}\n\n{more_shown}", result)


if __name__ == "__main__":
    main()
