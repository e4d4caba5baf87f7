"""How fast is LoRA on conversations, and in how much memory, against TRL?

    python benchmarks/chat_lora.py --pairs 5

A Llama of 71 million random weights on conversations of chat-like lengths (conversations.py), LoRA of rank 16 beside
every linear layer, the assistant's tokens learned, eight conversations per optimizer step. burnish runs as it is
installed, without a setting about speed. Peers:

    trl-default        SFTTrainer's own settings: padded, gradient checkpointing, eight at once
    trl-padding-free   bf16 weights, no checkpointing, the eight one behind the other
    trl-packed         bf16 weights, no checkpointing, packed into rows of 1,024 tokens, two a step

TRL gets burnish's tokens and labels. Real tokens are counted, seconds go from the end of the first step to the end of
the last. Time to the first step counts from the start of the process, for burnish with reading, checks and templates.
The loss of the same eight conversations on the untrained base is computed by every arm, as each computes it.

Prints a table and writes benchmarks/results/chat-lora.json. Needs trl for the peers, which are left out without it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from conversations import prepared
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

BATCH, WARM_UP, RANK = 8, 1, 16  # conversations per step; steps that are not counted
LONGEST, ROWS_OF_LONGEST = 1_024, 2  # of packing: tokens of a row, and rows of a step
FIELDS = ("tokens_per_second", "peak_memory_bytes", "first_step_seconds")
SETTINGS = ("method=lora", "training.global_batch_size=8", "training.learning_rate=2e-4")


def burnish_arm(
    place: Place, *, base: str, files: dict[str, str], steps: int, settings: Sequence[str] = SETTINGS
) -> Figures:
    from burnish.engine.sampler import epoch_batches
    from burnish.lifecycle.environment import peak_memory_bytes

    clock = StepClock(steps)
    train_steps(files, clock, place.work / "run", f"model.base={base}", *settings)
    peak = peak_memory_bytes()
    task, rows = encoded(base, files["train"])
    lengths = [row.length for row in rows]
    epochs = (epoch_batches(lengths, batch_size=BATCH, seed=13, epoch=epoch) for epoch in itertools.count())
    batches = itertools.islice(itertools.chain.from_iterable(epochs), steps)
    tokens = [sum(lengths[i] for i in batch) for batch in batches]
    return figures(place, clock.times, tokens, peak) | {"loss": loss_of_first(task, rows, base)}


def loss_of_first(task: Any, rows: Any, base: str) -> float:
    """Nats per learned token of the first conversations, as burnish computes them."""
    import torch

    from burnish.engine.layout_choice import choose_layout
    from burnish.engine.precision import choose_device, choose_precision
    from burnish.model.language import load_language_model

    device = choose_device()
    model = load_language_model(found(base)).to(device).eval()
    layout = choose_layout(model.encoder, rows, device=device)
    with torch.no_grad(), choose_precision("auto", device).compute(device):
        term = task.loss(model, layout.lay_out(rows[:BATCH], range(BATCH), device=device))
    return float(term.total) / term.weight


def found(base: str) -> Any:
    from burnish.model.find import find_base
    from burnish.model.options import ModelOptions

    return find_base(ModelOptions(base=base), recipe_folder=Path(), runs=Path("absent"))


def encoded(base: str, path: str, *, max_length: int = 2 * LONGEST) -> tuple[Any, list[Any]]:
    """The task over this base, and the rows of a file as it encodes them."""
    import json

    from burnish.model.load import load_tokenizer
    from burnish.model.template import find_template
    from burnish.task.chat import Chat
    from burnish.task.mask import Masker

    base_folder = Path(base)
    task = Chat(Masker(find_template(base_folder, None), load_tokenizer(base_folder)), max_length=max_length)
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return task, [task.encode(json.loads(line)) for line in lines]


def for_trl(row: Any) -> dict[str, list[int]]:
    """Tokens and labels of an encoded conversation."""
    ids = row.token_ids.tolist()
    labels = [-100] * len(ids)
    for place, token in zip(row.read_positions.tolist(), row.targets.tolist(), strict=True):
        labels[place + 1] = token
    return {"input_ids": ids, "labels": labels}


def pairs_in_order(base: str, path: str, batch: int, steps: int) -> list[dict[str, list[int]]]:
    """The pairs of burnish's first steps in the columns of DPOTrainer."""
    import json

    from burnish.engine.sampler import epoch_batches
    from burnish.model.load import load_tokenizer
    from burnish.model.template import find_template
    from burnish.task.mask import Masker
    from burnish.task.options import PreferenceOptions
    from burnish.task.preference import Preference

    folder = found(base).folder
    masker = Masker(find_template(folder, None), load_tokenizer(folder))
    task = Preference(masker, PreferenceOptions(), max_length=2_048)
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    lengths = [task.encode(row).length for row in rows]  # type: ignore[union-attr]
    batches = epoch_batches(lengths, batch_size=batch, seed=13, epoch=0)[:steps]
    columns = []
    for row in (rows[i] for chosen in batches for i in chosen):
        segments: Any = task.answers(row)
        start = int(segments[0].learned.argmax())
        ids = [segment.token_ids[segment.learned].tolist() for segment in segments]
        prompt = segments[0].token_ids[:start].tolist()
        columns.append({"prompt_ids": prompt, "chosen_ids": ids[0], "rejected_ids": ids[1]})
    return columns


def trl_arm(
    place: Place, *, base: str, files: dict[str, str], steps: int, settings: dict[str, Any], lora: bool = True
) -> Figures:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from burnish.lifecycle.environment import peak_memory_bytes

    torch.set_num_threads(place.threads)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    _, rows = encoded(base, files["train"])
    options: dict[str, Any] = {"per_device_train_batch_size": BATCH, "learning_rate": 2e-4, **settings}
    trainer = SFTTrainer(
        model=base,
        args=SFTConfig(
            output_dir=str(place.work / "trl"),
            max_steps=steps,
            train_sampling_strategy="sequential",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            **options,
        ),
        train_dataset=Dataset.from_list([for_trl(row) for row in rows]),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear") if lora else None,
        callbacks=[Clock()],
    )
    size = options["per_device_train_batch_size"]
    read = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    tokens = [sum(read[i : i + size]) for i in range(0, size * steps, size)]
    trainer.train()
    peak = peak_memory_bytes()
    batch = trainer.data_collator([for_trl(row) for row in rows[:BATCH]])
    model = trainer.model.eval()
    if not lora:
        model.load_state_dict(AutoModelForCausalLM.from_pretrained(base, dtype=model.dtype).state_dict())
    off = model.disable_adapter() if lora else contextlib.nullcontext()
    with torch.no_grad(), off, trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(model, trainer._prepare_inputs(batch))
    return figures(place, times, tokens, peak) | {"loss": float(loss)}


def figures(place: Place, times: list[float], tokens: list[int], peak: int) -> Figures:
    """Tokens per second of the steps that are counted, and what else is compared."""
    rate = sum(tokens[WARM_UP:]) / (times[-1] - times[WARM_UP - 1])
    first = times[0] - place.started
    return {"tokens_per_second": rate, "peak_memory_bytes": peak, "first_step_seconds": first, "tokens": tokens}


LEAN: dict[str, Any] = {"gradient_checkpointing": False, "model_init_kwargs": {"dtype": "bfloat16"}}
PACKED = {"packing": True, "max_length": LONGEST, "per_device_train_batch_size": ROWS_OF_LONGEST}
ARMS: dict[str, Arm] = {
    "burnish": burnish_arm,
    "trl-padding-free": partial(trl_arm, settings={**LEAN, "padding_free": True, "max_length": None}),
    "trl-packed": partial(trl_arm, settings={**LEAN, **PACKED}),
    "trl-default": partial(trl_arm, settings={}),
}


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    """The table, and burnish's ratios to each peer, round by round."""
    ratios: dict[str, Any] = {}
    lines = []
    for arm in measured:
        rate, memory, first = (median_of(measured, arm, field) for field in FIELDS)
        cells = [
            arm,
            f"{rate:.0f}",
            f"{memory / 1e6:,.0f}",
            f"{first:.1f}",
            f"{measured[arm][0]['loss']:.4f}",
            "",
            "",
            "",
        ]
        if arm != "burnish":
            ratios[arm] = {field: quotients(measured, "burnish", arm, field) for field in FIELDS}
            cells[5:] = [with_range(ratios[arm][field]) for field in FIELDS]
        lines.append(cells)
    head = ["arm", "tokens/s", "peak MB", "first step, s", "loss of 8 rows"]
    return table([*head, "burnish is faster by", "its memory", "its first step"], lines), ratios


def main() -> None:
    described = parser(str(__doc__), pairs=5)
    described.add_argument("--steps", type=int, default=5)
    described.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    options = parsed(described)
    if answer(ARMS, options):
        return
    chosen = [arm for arm in ARMS if arm == "burnish" or arm in options.arms]
    if importlib.util.find_spec("trl") is None:
        print("trl is not installed: burnish alone", file=sys.stderr)
        chosen = ["burnish"]
    steps, count = (2, 40) if options.quick else (options.steps, 400)
    with tempfile.TemporaryDirectory() as folder:
        given = prepared(Path(folder), seed=options.seed, count=count, tiny=options.quick) | {"steps": steps}
        arms = {arm: partial(run_arm, __file__, arm, given, threads=options.threads) for arm in chosen}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    report("chat-lora", options, shown, {"steps": steps, "rows": count, "measured": measured, "ratios": ratios})


if __name__ == "__main__":
    main()
