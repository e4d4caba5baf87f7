"""How fast is full fine-tuning of an encoder, and in how much memory, against transformers' Trainer?

    python benchmarks/encoder.py --pairs 5

MiniLM on rows of banking77, the same rows and 32 of them per optimizer step for everybody. Seconds go from the end of
one step to the end of another, with all that lies between them and without loading, tokenising and judging; peak
memory is the process's until then. Peers:

    trainer-defaults   rows in random order, 8 at once, accumulated 4 times, padded, fp32
    trainer-best       32 at once, grouped by length, bf16 where the hardware has it

Prints a table and writes benchmarks/results/encoder.json. Needs the extras demo and dev.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import (
    HELD_OUT,
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
    read_rows,
    report,
    rows_of,
    run_arm,
    table,
    take_turns,
    train_steps,
    with_range,
    write_parts,
)

BATCH, WARM_UP = 32, 5  # rows per optimizer step; steps that are not counted


def burnish_arm(place: Place, *, files: dict[str, str], steps: int, settings: Sequence[str] = ()) -> Figures:
    from burnish.lifecycle.environment import peak_memory_bytes

    clock = StepClock(steps)
    train_steps(files, clock, place.work / "run", *settings)
    return {"rows_per_second": _rate(clock.times), "peak_memory_bytes": peak_memory_bytes()}


def trainer_arm(place: Place, *, files: dict[str, str], steps: int, best: bool) -> Figures:
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from burnish.engine.precision import choose_device, choose_precision
    from burnish.lifecycle.environment import peak_memory_bytes
    from burnish.model.find import find_base
    from burnish.model.options import ModelOptions

    torch.set_num_threads(place.threads)
    base = find_base(ModelOptions(), recipe_folder=Path(), runs=Path("absent")).folder
    rows = rows_of(files["train"])
    labels = sorted({row.label for row in rows})
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [{**tokenizer(row.text, truncation=True), "labels": labels.index(row.label)} for row in rows]
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels), dtype=torch.float32)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    bf16 = choose_precision("auto", choose_device()).name == "bf16"
    options: dict[str, Any] = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": BATCH // 8}
    if best:
        options = {"per_device_train_batch_size": BATCH, "train_sampling_strategy": "group_by_length", "bf16": bf16}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(place.work / "trainer"),
            max_steps=steps,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            **options,
        ),
        train_dataset=encoded,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[Clock()],
    )
    trainer.train()
    return {"rows_per_second": _rate(times), "peak_memory_bytes": peak_memory_bytes()}


ARMS: dict[str, Arm] = {
    "burnish": burnish_arm,
    "trainer-best": partial(trainer_arm, best=True),
    "trainer-defaults": partial(trainer_arm, best=False),
}


def _rate(times: list[float]) -> float:
    """Rows per second from the end of the last step that is not counted to the end of the last one."""
    return BATCH * (len(times) - WARM_UP) / (times[-1] - times[WARM_UP - 1])


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    """The table, and burnish's ratios to each peer, round by round."""
    ratios: dict[str, Any] = {}
    lines = []
    for arm in ARMS:
        rate, memory = median_of(measured, arm, "rows_per_second"), median_of(measured, arm, "peak_memory_bytes")
        cells = [arm, f"{rate:.1f}", f"{memory / 1e6:,.0f}", "", ""]
        if arm != "burnish":
            speed = quotients(measured, "burnish", arm, "rows_per_second")
            space = quotients(measured, "burnish", arm, "peak_memory_bytes")
            ratios[arm] = {"speed": speed, "memory": space}
            cells[3:] = [with_range(speed), with_range(space)]
        lines.append(cells)
    return table(["arm", "rows/s", "peak MB", "burnish is faster by", "burnish's memory"], lines), ratios


def main() -> None:
    found = parser(str(__doc__), pairs=5)
    found.add_argument("--steps", type=int, default=40)
    found.add_argument("--rows", type=int, default=3000)
    options = parsed(found)
    if answer(ARMS, options):
        return
    steps, count = (WARM_UP + 3, 256) if options.quick else (options.steps, options.rows)
    name, rows = read_rows("train")
    count = min(count, len(rows) - HELD_OUT) // BATCH * BATCH  # every step has its whole batch
    with tempfile.TemporaryDirectory() as folder:
        given = {"files": write_parts(Path(folder), rows, count, options.seed), "steps": steps}
        arms = {arm: partial(run_arm, __file__, arm, given, threads=options.threads) for arm in ARMS}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    told = {"data": name, "rows": count, "steps": steps}
    report(__file__, options, shown, {**told, "measured": measured, "ratios": ratios})


if __name__ == "__main__":
    main()
