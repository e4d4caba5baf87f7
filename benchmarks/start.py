"""How long until the first optimizer step is finished, and how light is `burnish --help`?

    python benchmarks/start.py --pairs 5

The demo's training rows, MiniLM, full fine-tuning, 32 rows in the step. Seconds go from the start of the process (of
the second job, where a process is warm) to the end of the first step; the training ends there. Arms:

    burnish              an empty home: nothing is cached
    burnish, seen rows   a home that has seen these rows before
    trainer              a plain script with transformers' Trainer: its imports, tokenising, one step
    second job           burnish again in the same process, on the same rows
    second job, others   burnish again in the same process, on rows it has not seen

`burnish --help` and `python -c pass` take turns in the same way, 20 times each or more, and what --help imports is
listed, dearest first. Prints tables and writes benchmarks/results/start.json. Needs the extras demo and dev.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import (
    DEMO,
    ROOT,
    Arm,
    Figures,
    Measured,
    Place,
    StepClock,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    report,
    rows_of,
    run_arm,
    sample_rows,
    table,
    take_turns,
    train_steps,
    with_range,
    write_rows,
)

BATCH = 32
HELP_ROUNDS = 20
PASS, HELP = ("-c", "pass"), ("-m", "burnish", "--help")
SHOWN_IMPORTS = 8


def burnish_arm(place: Place, *, rows: str) -> Figures:
    return {"seconds": _first_step(rows, place.work / "run") - place.started}


def second_arm(place: Place, *, rows: str, before: str) -> Figures:
    _first_step(before, place.work / "first")
    started = time.monotonic()
    return {"seconds": _first_step(rows, place.work / "second") - started}


def _first_step(rows: str, output: Path) -> float:
    """time.monotonic() at the end of the first step of a training."""
    clock = StepClock(1)
    train_steps({"train": rows}, clock, output)
    return clock.times[0]


def trainer_arm(place: Place, *, rows: str) -> Figures:
    """What a user's own script does, in the order it does it; its settings are Trainer's but for the batch."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from burnish.model.find import find_base
    from burnish.model.options import ModelOptions

    base = find_base(ModelOptions(), recipe_folder=Path(), runs=Path("absent")).folder
    found = rows_of(rows)
    labels = sorted({row.label for row in found})
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer([row.text for row in found], truncation=True)["input_ids"]
    dataset = [{"input_ids": ids, "labels": labels.index(row.label)} for ids, row in zip(encoded, found, strict=True)]
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    settings = TrainingArguments(
        output_dir=str(place.work / "trainer"),
        max_steps=1,
        per_device_train_batch_size=BATCH,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    collator = DataCollatorWithPadding(tokenizer)
    Trainer(model=model, args=settings, train_dataset=dataset, data_collator=collator, callbacks=[Clock()]).train()
    return {"seconds": times[0] - place.started}


PROCESSES: dict[str, Arm] = {"burnish": burnish_arm, "trainer": trainer_arm, "second": second_arm}


def measure_starts(folder: Path, pairs: int, threads: int, rows: int, seed: int) -> Measured:
    """Seconds to the first step, of each arm in each round."""
    demo = rows_of(DEMO / "train.csv", text="message", label="next_action")
    data = write_rows(folder / "rows.csv", sample_rows(demo, rows, seed)[0])
    others = write_rows(folder / "others.csv", sample_rows(demo, rows * 9 // 10, seed + 1)[0])
    run = partial(run_arm, __file__, threads=threads)
    seen = folder / "home"
    run("burnish", {"rows": data}, home=seen)
    arms = {
        "burnish": partial(run, "burnish", {"rows": data}),
        "burnish, seen rows": partial(run, "burnish", {"rows": data}, home=seen),
        "trainer": partial(run, "trainer", {"rows": data}),
        "second job": partial(run, "second", {"rows": data, "before": data}),
        "second job, others": partial(run, "second", {"rows": others, "before": data}),
    }
    return take_turns(arms, pairs)


def starts_table(measured: Measured) -> tuple[str, dict[str, list[float]]]:
    """The table, and each arm's seconds divided by Trainer's, round by round."""
    ratios = {arm: quotients(measured, arm, "trainer", "seconds") for arm in measured if arm != "trainer"}
    lines = []
    for arm, rounds in measured.items():
        seconds = [one["seconds"] for one in rounds]
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        against = with_range(ratios[arm]) if arm in ratios else ""
        lines.append([arm, f"{median_of(measured, arm, 'seconds'):.2f}", spread, against])
    return table(["arm", "seconds to the first step", "range", "of Trainer's"], lines), ratios


def measure_help(rounds: int) -> tuple[str, dict[str, Any]]:
    """The table of `--help` against an empty program, and their seconds, taking turns."""
    commands: dict[str, Sequence[str]] = {"python -c pass": PASS, "burnish --help": HELP}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for name in commands:
        _seconds(commands[name])  # the files are in memory from here on
    for turn in range(rounds):
        for name in list(commands) if turn % 2 == 0 else reversed(list(commands)):
            seconds[name].append(_seconds(commands[name]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["burnish --help"] / medians["python -c pass"]
    lines = [[name, f"{1000 * medians[name]:.0f}", len(seconds[name])] for name in commands]
    shown = table(["command", "median ms", "n"], [*lines, ["ratio of the medians", f"{ratio:.1f}x", ""]])
    return shown, {"seconds": seconds, "ratio": ratio}


def _seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    _python(arguments)
    return time.perf_counter() - started


def _python(arguments: Sequence[str]) -> str:
    """Runs Python; gives what it wrote to stderr."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment)
    return done.stderr


def imports_of_help() -> tuple[str, dict[str, float]]:
    """Modules that --help imports and an empty program does not, by their own milliseconds (-X importtime)."""
    empty = _imported(PASS)
    found = {name: own for name, own in _imported(HELP).items() if name not in empty}
    dearest = sorted(found.items(), key=lambda item: -item[1])[:SHOWN_IMPORTS]
    rest = [f"{len(found) - len(dearest)} more", f"{sum(found.values()) - sum(own for _, own in dearest):.1f}"]
    return table(["imported by --help", "ms"], [*([name, f"{own:.1f}"] for name, own in dearest), rest]), found


def _imported(arguments: Sequence[str]) -> dict[str, float]:
    """Modules that a program imports, and the milliseconds each takes without what it imports itself."""
    lines = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", _python(["-X", "importtime", *arguments]))
    return {name: int(microseconds) / 1000 for microseconds, name in lines}


def main() -> None:
    options = parsed(parser(str(__doc__), pairs=5))
    if answer(PROCESSES, options):
        return
    help_table, help_seconds = measure_help(HELP_ROUNDS)
    imports_table, imports = imports_of_help()
    rows = 300 if options.quick else 2500
    with tempfile.TemporaryDirectory() as folder:
        measured = measure_starts(Path(folder), options.pairs, options.threads, rows, options.seed)
    starts, ratios = starts_table(measured)
    result = {"rows": rows, "measured": measured, "ratios": ratios, "help": help_seconds, "imports_of_help": imports}
    report(__file__, options, "\n\n".join([starts, help_table, imports_table]), result)


if __name__ == "__main__":
    main()
