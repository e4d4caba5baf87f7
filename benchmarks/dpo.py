"""How fast is DPO with LoRA, and in how much memory, against TRL?

    python benchmarks/dpo.py --pairs 5
    python benchmarks/dpo.py --pairs 5 --system 200

The Llama of 71 million random weights of conversations.py; prompts and two answers of chat-like lengths, LoRA of rank
16 beside every linear layer, eight pairs per optimizer step, one pass over the rows. burnish as it is installed: a
pair's prompt is computed once, what all rows of a micro-batch begin with (`--system`: a system prompt of so many
tokens) once for all of them, and the base's own log-probabilities once before the first step, whose seconds are added
to the steps by the number of pairs. Peers, which compute the reference in every step, with the adapter off:

    trl-default        DPOTrainer's own settings: padded, gradient checkpointing
    trl-lean           bf16 weights, no checkpointing; rows one behind the other where DPOTrainer can (1.16 pads)
    trl-precomputed    the same, and the reference before the first step, added like burnish's

TRL reads the pairs in burnish's order with burnish's tokens, so that every step has the same pairs for everybody.
Prints a table and writes benchmarks/results/dpo.json. Needs trl for the peers, which are left out without it.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from chat_lora import BATCH, LEAN, RANK, SETTINGS, WARM_UP, pairs_in_order
from conversations import make_base, preferences, write_rows
from measuring import (
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
    run_arm,
    table,
    take_turns,
    train_steps,
    with_range,
)

FIELDS = ("pairs_per_second", "peak_memory_bytes")
REFERENCE = "what the base thinks of the answers"  # a stage of burnish's runs


class Stages(StepClock):
    """Notes when each stage began, too."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.stages: list[tuple[str, float]] = []

    def stage(self, name: str) -> None:
        self.stages.append((name, time.monotonic()))

    def seconds_of(self, name: str) -> float:
        begun = [each for each, _ in self.stages].index(name)
        return self.stages[begun + 1][1] - self.stages[begun][1]


def burnish_arm(place: Place, *, base: str, files: dict[str, str], steps: int) -> Figures:
    from burnish.lifecycle.environment import peak_memory_bytes

    clock = Stages(steps)
    rows = sum(len(Path(path).read_text(encoding="utf-8").splitlines()) for path in files.values())
    train_steps(files, clock, place.work / "run", f"model.base={base}", "task=preference", *SETTINGS)
    per_step = (clock.times[-1] - clock.times[WARM_UP - 1]) / (steps - WARM_UP)
    seconds = per_step / BATCH + clock.seconds_of(REFERENCE) / rows
    return {"pairs_per_second": 1 / seconds, "peak_memory_bytes": peak_memory_bytes()}


def trl_arm(place: Place, *, base: str, files: dict[str, str], steps: int, settings: dict[str, Any]) -> Figures:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from burnish.lifecycle.environment import peak_memory_bytes

    before: list[float] = []  # seconds of what is computed ahead of the steps

    class Tokenized(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *given: Any, **named: Any) -> Any:
            begun = time.monotonic()
            found = super()._precompute_ref_logps(*given, **named)
            before.append(time.monotonic() - begun)
            return found

    torch.set_num_threads(place.threads)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    trainer = Tokenized(
        model=base,
        args=DPOConfig(
            output_dir=str(place.work / "trl"),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            train_sampling_strategy="sequential",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            **{"max_length": None, **settings},
        ),
        train_dataset=Dataset.from_list(pairs_in_order(base, files["train"], BATCH, steps)),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
        callbacks=[Clock()],
    )
    trainer.train()
    seconds = (times[-1] - times[WARM_UP - 1]) / (BATCH * (steps - WARM_UP)) + sum(before) / (BATCH * steps)
    return {"pairs_per_second": 1 / seconds, "peak_memory_bytes": peak_memory_bytes()}


ARMS: dict[str, Arm] = {
    "burnish": burnish_arm,
    "trl-precomputed": partial(trl_arm, settings={**LEAN, "padding_free": True, "precompute_ref_log_probs": True}),
    "trl-lean": partial(trl_arm, settings={**LEAN, "padding_free": True}),
    "trl-default": partial(trl_arm, settings={}),
}


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    """The table, and burnish's ratios to each peer, round by round."""
    ratios: dict[str, Any] = {}
    lines = []
    for arm in measured:
        rate, memory = (median_of(measured, arm, field) for field in FIELDS)
        cells = [arm, f"{rate:.2f}", f"{memory / 1e6:,.0f}", "", ""]
        if arm != "burnish":
            ratios[arm] = {field: quotients(measured, "burnish", arm, field) for field in FIELDS}
            cells[3:] = [with_range(ratios[arm][field]) for field in FIELDS]
        lines.append(cells)
    return table(["arm", "pairs/s", "peak MB", "burnish is faster by", "its memory"], lines), ratios


def main() -> None:
    described = parser(str(__doc__), pairs=5)
    described.add_argument("--steps", type=int, default=4)
    described.add_argument("--system", type=int, default=0, help="tokens of a system prompt before every question (0)")
    options = parsed(described)
    if answer(ARMS, options):
        return
    chosen = list(ARMS)
    if importlib.util.find_spec("trl") is None:
        print("trl is not installed: burnish alone", file=sys.stderr)
        chosen = ["burnish"]
    steps, count = (2, 40) if options.quick else (options.steps, BATCH * (options.steps + 2))
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "base", seed=options.seed, tiny=options.quick)
        rows = preferences(count + 16, seed=options.seed, words=2_000 if options.quick else 49_000)
        if options.system:
            instruction = {"role": "system", "content": " ".join(f"w{i}" for i in range(options.system))}
            rows = [{**row, "prompt": [instruction, *row["prompt"]]} for row in rows]
        parts = {"train": rows[:count], "validation": rows[count : count + 8], "test": rows[count + 8 :]}
        files = {part: write_rows(Path(folder) / f"{part}.jsonl", some) for part, some in parts.items()}
        given = {"base": base, "files": files, "steps": steps}
        arms = {arm: partial(run_arm, __file__, arm, given, threads=options.threads) for arm in chosen}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    about = {"steps": steps, "rows": count, "system_tokens": options.system}
    report(__file__, options, shown, about | {"measured": measured, "ratios": ratios})


if __name__ == "__main__":
    main()
