"""How fast is full fine-tuning on conversations, and in how much memory, against transformers' Trainer and TRL?

    python benchmarks/full.py --pairs 5

As chat_lora.py, with every weight learning: the Llama of 71 million random weights, chat-like lengths, eight
conversations per optimizer step, the assistant's tokens, one pass: every arm reads the same conversations, each in its
own order. burnish with `method: full` and no setting about speed. Peers:

    trainer-best       Trainer in bf16 where the hardware has it, eight at once, grouped by length, padded
    trl-padding-free   SFTTrainer in bf16, no checkpointing, the eight one behind the other

The share is that of the rate at which this machine multiplies square bf16 matrices, measured in the same run: products
of the layers for every token, of the head for the tokens whose logits an arm computes, attention and all else left
out. It says how much faster anybody could be.

Prints a table and writes benchmarks/results/full.json. Needs trl for its arm, which is left out without it.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from chat_lora import BATCH, SETTINGS, burnish_arm, encoded, figures, for_trl, found, summary, trl_arm
from conversations import prepared
from measuring import Arm, Figures, Place, answer, median_of, parsed, parser, report, run_arm, take_turns

from burnish.lifecycle.environment import default_threads


def trainer_arm(place: Place, *, base: str, files: dict[str, str], steps: int) -> Figures:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from burnish.engine.precision import choose_device, choose_precision
    from burnish.lifecycle.environment import peak_memory_bytes

    torch.set_num_threads(place.threads)
    times: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    _, rows = encoded(base, files["train"])
    padded = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(base))

    def collated(batch: list[dict[str, Any]]) -> Any:
        tokens.append(sum(len(row["input_ids"]) for row in batch))
        return padded(batch)

    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=TrainingArguments(
            output_dir=str(place.work / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=2e-5,
            train_sampling_strategy="group_by_length",
            bf16=choose_precision("auto", choose_device()).name == "bf16",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
        ),
        train_dataset=[for_trl(row) for row in rows],
        data_collator=collated,
        callbacks=[Clock()],
    )
    trainer.train()
    peak, read = peak_memory_bytes(), tokens[:steps]
    fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval().to(trainer.args.device)
    batch = trainer._prepare_inputs(padded([for_trl(row) for row in rows[:BATCH]]))
    with torch.no_grad(), trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(fresh, batch)
    return figures(place, times, read, peak) | {"loss": float(loss)}


def matrix_rate() -> float:
    """Operations per second of square bf16 products."""
    import torch

    torch.set_num_threads(default_threads())
    one, other = (torch.randn(2_048, 2_048).bfloat16() for _ in range(2))
    product, times = one @ other, list[float]()
    for _ in range(20):
        begun = time.monotonic()
        torch.mm(one, other, out=product)
        times.append(time.monotonic() - begun)
    return 2 * 2_048**3 / statistics.median(times)


def operations(base: str, path: str) -> dict[str, float]:
    """Operations of a token's products in a step, forward and twice as many backward, of each arm."""
    from burnish.model.language import load_language_model

    causal: Any = load_language_model(found(base)).causal
    head = causal.get_output_embeddings().weight.numel()
    tables = {causal.get_input_embeddings().weight, causal.get_output_embeddings().weight}
    layers = sum(weight.numel() for weight in causal.parameters()) - sum(weight.numel() for weight in tables)
    _, rows = encoded(base, path)
    learned = sum(len(row.targets) for row in rows) / sum(row.length for row in rows)
    return {arm: 6 * (layers + head * (learned if arm == "burnish" else 1)) for arm in ARMS}


SFT: dict[str, Any] = {"gradient_checkpointing": False, "learning_rate": 2e-5, "padding_free": True, "max_length": None}
ARMS: dict[str, Arm] = {
    "burnish": partial(burnish_arm, settings=(*SETTINGS, "method=full", "training.learning_rate=2e-5")),
    "trainer-best": trainer_arm,
    "trl-padding-free": partial(trl_arm, settings=SFT, lora=False),
}


def main() -> None:
    described = parser(str(__doc__), pairs=5)
    described.add_argument("--steps", type=int, default=25)
    options = parsed(described)
    if answer(ARMS, options):
        return
    has_trl = importlib.util.find_spec("trl") is not None
    if not has_trl:
        print("trl is not installed: its arm is left out", file=sys.stderr)
    steps, count = (2, 40) if options.quick else (options.steps, BATCH * options.steps)
    with tempfile.TemporaryDirectory() as folder:
        given = prepared(Path(folder), seed=options.seed, count=count, tiny=options.quick) | {"steps": steps}
        chosen = [arm for arm in ARMS if has_trl or not arm.startswith("trl")]
        arms = {arm: partial(run_arm, __file__, arm, given, threads=options.threads) for arm in chosen}
        measured = take_turns(arms, options.pairs)
        rate, each = matrix_rate(), operations(given["base"], given["files"]["train"])
    shown, ratios = summary(measured)
    shares = {arm: each[arm] * median_of(measured, arm, "tokens_per_second") / rate for arm in measured}
    told = ", ".join(f"{arm} {share:.2f}" for arm, share in shares.items())
    shown += f"\n\nShare of {rate / 1e9:.0f} billion operations a second: {told}"
    result = {"steps": steps, "rows": count, "measured": measured, "ratios": ratios}
    report(__file__, options, shown, {**result, "matrix_rate": rate, "operations": each, "shares": shares})


if __name__ == "__main__":
    main()
