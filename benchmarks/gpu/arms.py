"""Ways to train a language model on a GPU: burnish, peft with transformers' Trainer, TRL, Unsloth.

All of them give what `frame.tables` shows. Rows come in burnish's order, so that a step has the same rows for everybody
and its loss can be compared; where TRL packs rows of other steps together it cannot, and no loss is given.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paths  # noqa: F401
from chat_lora import encoded, for_trl
from frame import GIB, Figures, Place, device_name, peaks
from measuring import StepClock, train_steps

UNASKED = "evaluation.forgetting.probes=none"  # before the first step: a base of random weights knows nothing
RANK, WARM_UP = 16, 2  # steps that are not counted: kernels are chosen and compiled in them


class Watch(StepClock):
    """Notes the loss of each step too, and counts memory anew after the first one."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.losses: list[float] = []
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.notes.append(message)

    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures:
            self.losses.append(figures["loss"])
            stepped(done)
        super().advance(done, total, figures)


def stepped(done: int) -> None:
    """After the first step: peaks of memory are those of the steps from here on."""
    import torch

    if done == 1:
        FIRST.update(peaks())
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()


def in_order(rows: Sequence[Any], batch: int, steps: int) -> list[Any]:
    """The rows of burnish's steps, one behind the other."""
    from burnish.engine.sampler import epoch_batches

    batches = epoch_batches([row.length for row in rows], batch_size=batch, seed=13, epoch=0)[:steps]
    return [rows[i] for chosen in batches for i in chosen]


def burnish_arm(
    place: Place,
    *,
    base: str,
    files: dict[str, str],
    tokens: int,
    batch: int,
    steps: int,
    at_once: int,
    settings: Sequence[str] = (),
    gib: float | None = None,
) -> Figures:
    """burnish as it is installed.

    Args:
        gib: of the card; a larger one is cut to that.
    """
    from burnish.errors import OutOfMemoryError

    if gib is not None:
        cut_to(gib)
    watch = Watch(steps)
    settings = (f"training.global_batch_size={batch}", "training.learning_rate=2e-4", UNASKED, *settings)
    try:
        with nothing_saved():
            train_steps(files, watch, place.work / "run", f"model.base={base}", "method=lora", *settings)
    except OutOfMemoryError as error:
        return {"out_of_memory": True, "said": error.message}
    after = peaks()
    _, rows = encoded(base, files["train"], max_length=max(tokens, 8_192))
    order = in_order(rows, batch, steps)
    sizes = [sum(row.length for row in order[i : i + batch]) for i in range(0, batch * steps, batch)]
    notes = [
        note
        for note in watch.notes
        if "computed together" in note or "frozen" in note or "fp8" in note or "memory" in note
    ]
    return figures(place, watch.times, sizes, watch.losses, after, order) | {"notes": notes}


def cut_to(gib: float) -> None:
    """Lets this process take no more of the GPU's memory than a smaller card has."""
    import torch

    if torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / whole))


@contextlib.contextmanager
def nothing_saved() -> Any:
    """Without the room on the disk that checkpoints would take: the training is ended before it saves any."""
    from burnish.lifecycle import train

    before = train.require_space
    train.require_space = lambda *_: None
    try:
        yield
    finally:
        train.require_space = before


def figures(
    place: Place,
    times: list[float],
    sizes: list[int],
    losses: list[float],
    after: Mapping[str, int],
    rows: Sequence[Any] | None,
) -> Figures:
    """Tokens per second of the steps that are counted, and what else is compared."""
    rate = sum(sizes[WARM_UP:]) / (times[-1] - times[WARM_UP - 1])
    found = {"tokens_per_second": rate, "times": times, "step_tokens": sizes, "losses": losses}
    found |= {"first_step_seconds": times[0] - place.started, "steps_allocated": after["peak_allocated"]}
    found |= {"peak_allocated": max(after["peak_allocated"], FIRST.get("peak_allocated", 0))}
    found |= {"peak_reserved": max(after["peak_reserved"], FIRST.get("peak_reserved", 0))}
    if rows:
        read = sum(len(row.targets) for row in rows)
        found |= {"lengths": [row.length for row in rows], "read": read}
    return found


FIRST: dict[str, int] = {}  # peaks up to the end of the first step


def trainer_arm(
    place: Place,
    *,
    base: str,
    files: dict[str, str],
    tokens: int,
    batch: int,
    steps: int,
    at_once: int,
    full: bool = False,
) -> Figures:
    """transformers' Trainer with peft: bf16 weights, no checkpointing, rows of a length together, padded."""
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    _, rows = encoded(base, files["train"], max_length=max(tokens, 8_192))
    order = in_order(rows, batch, steps)
    model = loaded(base)
    if not full:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(**LORA))

    def build(callbacks: list[Any], options: dict[str, Any]) -> Any:
        return Trainer(
            model=model,
            args=TrainingArguments(output_dir=str(place.work / "trainer"), bf16=full_speed(), **options),
            train_dataset=[for_trl(row) for row in order],
            data_collator=DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(base)),
            callbacks=callbacks,
        )

    return trained(place, build, order, tokens, batch, steps, at_once, {"learning_rate": 2e-5 if full else 2e-4})


def trl_arm(
    place: Place,
    *,
    base: str,
    files: dict[str, str],
    tokens: int,
    batch: int,
    steps: int,
    at_once: int,
    full: bool = False,
    settings: Mapping[str, Any] | None = None,
    opened: Callable[[str], Any] | None = None,
) -> Figures:
    """SFTTrainer at its best: bf16 weights, no checkpointing, rows packed, Liger and FlashAttention where installed.

    Args:
        opened: gives the model with its adapter, for who builds on TRL.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    _, rows = encoded(base, files["train"], max_length=max(tokens, 8_192))
    order = in_order(rows, batch, steps)
    alike = len({row.length for row in rows}) == 1  # nothing to pack
    packed = {"packing": False} if alike else {"packing": True}

    def build(callbacks: list[Any], options: dict[str, Any]) -> Any:
        liger = importlib.util.find_spec("liger_kernel") is not None
        if not alike:  # as many tokens in a step as its rows have
            options |= {"per_device_train_batch_size": max(1, at_once // tokens)}
            rest = sum(row.length for row in order) / steps / tokens / options["per_device_train_batch_size"]
            options |= {"gradient_accumulation_steps": max(1, round(rest))}
        return SFTTrainer(
            model=opened(base) if opened else loaded(base),
            args=SFTConfig(
                output_dir=str(place.work / "trl"),
                bf16=full_speed(),
                max_length=tokens,
                use_liger_kernel=liger,
                **{**options, **packed, **(settings or {})},
            ),
            train_dataset=Dataset.from_list([for_trl(row) for row in order]),
            peft_config=None if full or opened else LoraConfig(**LORA),
            callbacks=callbacks,
        )

    options = {"learning_rate": 2e-5 if full else 2e-4}
    return trained(place, build, order if alike else None, tokens, batch, steps, at_once, options)


def unsloth_arm(place: Place, *, base: str, tokens: int, **given: Any) -> Figures:
    """Unsloth's own loading and adapters, its patched SFTTrainer, its default packing and no checkpointing."""
    from unsloth import FastLanguageModel  # before transformers, which it changes

    def opened(base: str) -> Any:
        model, _ = FastLanguageModel.from_pretrained(
            base, max_seq_length=tokens, load_in_4bit=False, use_gradient_checkpointing=False
        )
        return FastLanguageModel.get_peft_model(
            model, r=RANK, lora_alpha=2 * RANK, use_gradient_checkpointing=False, random_state=13
        )

    return trl_arm(place, base=base, tokens=tokens, opened=opened, **given)


LORA: dict[str, Any] = {"r": RANK, "lora_alpha": 2 * RANK, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def full_speed() -> bool:
    """Autocast, where the device has bf16."""
    import torch

    return torch.cuda.is_available()


def loaded(base: str) -> Any:
    """The base in bf16 on the device, with FlashAttention where it is installed."""
    import torch
    from transformers import AutoModelForCausalLM

    flash = torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None
    return AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.bfloat16,
        device_map={"": device_name()},
        attn_implementation="flash_attention_2" if flash else "sdpa",
    )


def trained(
    place: Place,
    build: Callable[[list[Any], dict[str, Any]], Any],
    order: Sequence[Any] | None,
    tokens: int,
    batch: int,
    steps: int,
    at_once: int,
    more: Mapping[str, Any],
) -> Figures:
    """What a trainer of transformers' kind reaches; its steps have the rows of burnish's unless `order` is None."""
    import torch
    from transformers import TrainerCallback

    times: list[float] = []
    losses: list[float] = []
    sizes: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.monotonic())
            stepped(len(times))

        def on_log(self, *_: Any, logs: Mapping[str, float], **__: Any) -> None:
            if "loss" in logs:
                losses.append(float(logs["loss"]))

    rows = min(batch, max(1, at_once // tokens))
    while batch % rows:
        rows -= 1
    options: dict[str, Any] = {
        "max_steps": steps,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": batch // rows,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "optim": "adamw_torch_fused",
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        **more,
    }
    try:
        trainer = build([Clock()], options)
        trainer.train()
    except torch.OutOfMemoryError:
        gc.collect()
        return {"out_of_memory": True}
    after = peaks()
    if order is not None:
        sizes = [sum(row.length for row in order[i : i + batch]) for i in range(0, batch * steps, batch)]
        return figures(place, times, sizes, losses, after, order)
    read = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    size = options["per_device_train_batch_size"] * options["gradient_accumulation_steps"]
    sizes = [sum(read[i : i + size]) for i in range(0, size * steps, size)]
    return figures(place, times, sizes, [], after, None)
