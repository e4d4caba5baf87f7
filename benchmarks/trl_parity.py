"""Does the same training in TRL have the same losses?

    python benchmarks/trl_parity.py
    python benchmarks/trl_parity.py --what dpo

stories260k, a real language model of 260,000 weights, from the same weights and in the same order: burnish's own
training, its lines of metrics.jsonl, and the log of TRL's trainer. Both run in float32 with AdamW, warm-up, cosine
schedule, decay of matrices only and clipping, without dropout and without an average.

    sft   the seed tasks of Self-Instruct; SFTTrainer
    dpo   pairs of answers that PandaLM's annotators compared; DPOTrainer, for full with the log-probabilities of the
          reference computed beforehand, for lora with the adapter off

What is mapped: TRL gets the rows in burnish's order, with burnish's tokens and labels (trl_labels.py compares these),
and reads them one after the other; embeddings get no weight decay; and burnish warms up to (step + 1) / (warmup + 1),
which is transformers' schedule with one more step of warm-up, begun one step in.

Rounding is not guessed but measured: TRL against itself, with a step's rows one at a time instead of all at once. The
curves of burnish and TRL must not lie further apart than a few times that. How far they lie apart when decay and
warm-up are not mapped shows what the comparison would notice.

Prints a table and writes benchmarks/results/trl-parity.json. Needs trl, and the data and models beside the repository.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import ROOT, parsed, parser, report, table

BASE = ROOT.parent / "shared" / "models" / "stories260k"
TASKS = ROOT.parent / "shared" / "data" / "self_instruct" / "seed_tasks.jsonl"
PAIRS = ROOT.parent / "shared" / "data" / "pandalm_preferences" / "pairs.jsonl"
ROWS, EPOCHS, BATCH, WARMUP, DECAY = 48, 5, 8, 0.1, 0.05
LONGEST = 300  # characters of an exchange, so that two of them fit into the 512 tokens that the base reads
FIRST = 2e-6  # relative, at the first step: means of some thousand float32 losses, added up in another order
TIMES = 10.0  # the whole curve: how often the distance of TRL from itself, which is one draw of the same rounding
BETA = 0.1  # of DPO
METHODS = ("full", "lora")

Line = dict[str, float]  # loss, gradient_norm and learning_rate of a step


@dataclass(frozen=True, slots=True)
class Start:
    """What both trainings begin with.

    Attributes:
        state: the weights, by their name in transformers and peft.
        rows: what TRL reads, in the order of burnish's steps, all epochs one after the other.
    """

    base: Path
    method: str
    state: dict[str, Any]
    rows: list[dict[str, Any]]
    rate: float
    seed: int


def supervised_rows(count: int) -> list[dict[str, Any]]:
    """Conversations of one and of two exchanges by turns."""
    exchanges = []
    for line in TASKS.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        first = found["instances"][0]
        prompt = "\n\n".join(part for part in (found["instruction"], first["input"]) if part)
        if len(prompt) + len(first["output"]) < LONGEST:
            turns = (("user", prompt), ("assistant", first["output"]))
            exchanges.append([{"role": role, "content": text} for role, text in turns])
    rest = iter(exchanges)
    return [{"messages": next(rest) + (next(rest) if index % 2 else [])} for index in range(count)]


def supervised(base: Path, rows: Sequence[dict[str, Any]]) -> Any:
    from burnish.testing.subject import chat_subject_over

    return chat_subject_over(str(base), rows)


def supervised_for_trl(task: Any, row: dict[str, Any]) -> dict[str, list[int]]:
    """A conversation as SFTTrainer takes what is already tokenized."""
    (segment,) = task.segments(row)
    ids = segment.token_ids.tolist()
    return {"input_ids": ids, "labels": [i if of_it else -100 for i, of_it in zip(ids, segment.learned, strict=True)]}


def supervised_trainer(method: str) -> tuple[Any, Any, dict[str, Any]]:
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer, SFTConfig, {}


def preference_rows(count: int) -> list[dict[str, Any]]:
    """Pairs of short answers, each prompt once."""
    found: dict[str, dict[str, Any]] = {}
    for line in PAIRS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers = {name: str(row[name]).strip() for name in ("chosen", "rejected")}
        if all(answers.values()) and len(row["prompt"]) + max(map(len, answers.values())) < LONGEST:
            turns = {"prompt": ("user", row["prompt"])} | {name: ("assistant", text) for name, text in answers.items()}
            pair = {name: [{"role": role, "content": text}] for name, (role, text) in turns.items()}
            found.setdefault(row["prompt"], pair)
    return list(found.values())[:count]


def preference(base: Path, rows: Sequence[dict[str, Any]]) -> Any:
    """The task with the log-probabilities that the base gives to the answers."""
    from burnish.task.options import PreferenceOptions
    from burnish.testing import preference_subject_over

    return preference_subject_over(str(base), rows, PreferenceOptions(beta=BETA))


def preference_for_trl(task: Any, row: dict[str, Any]) -> dict[str, list[int]]:
    """A pair in the columns that DPOTrainer makes of it; what stands behind an answer's end is left out."""
    chosen, rejected = task.answers(row)
    start = int(chosen.learned.argmax())
    answers = {"chosen_ids": chosen, "rejected_ids": rejected}
    ids = {name: answer.token_ids[answer.learned].tolist() for name, answer in answers.items()}
    return {"prompt_ids": chosen.token_ids[:start].tolist(), **ids}


def preference_trainer(method: str) -> tuple[Any, Any, dict[str, Any]]:
    from trl import DPOConfig, DPOTrainer

    class Tokenized(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    return Tokenized, DPOConfig, {"beta": BETA, "precompute_ref_log_probs": method == "full"}


@dataclass(frozen=True, slots=True)
class What:
    """A kind of training in both.

    Attributes:
        rows: so many of them, as burnish reads them.
        subject: of a base and rows.
        for_trl: a row's columns for TRL, as the task sees the row.
        trainer: TRL's trainer, its arguments, and what these say beside the common ones for a method.
    """

    rows: Callable[[int], list[dict[str, Any]]]
    subject: Callable[[Path, Sequence[dict[str, Any]]], Any]
    for_trl: Callable[[Any, dict[str, Any]], dict[str, list[int]]]
    trainer: Callable[[str], tuple[Any, Any, dict[str, Any]]]


WHAT = {
    "sft": What(supervised_rows, supervised, supervised_for_trl, supervised_trainer),
    "dpo": What(preference_rows, preference, preference_for_trl, preference_trainer),
}


def burnish_curve(what: What, method: str, base: Path, folder: Path, seed: int) -> tuple[Start, list[Line]]:
    """The training in burnish, and what another one needs to begin and to go on like it."""
    from burnish.engine.sampler import epoch_batches
    from burnish.lifecycle.resolve import default_language_rate
    from burnish.method.full import Full
    from burnish.method.lora import Lora

    subject = what.subject(base, what.rows(ROWS))
    width = json.loads((base / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    rate = default_language_rate(method=method, width=width)
    training = subject.training(
        {"full": Full, "lora": Lora}[method](),
        folder,
        epochs=EPOCHS,
        learning_rate=rate,
        global_batch_size=BATCH,
        seed=seed,
        schedule="cosine",
        warmup_ratio=WARMUP,
        weight_decay=DECAY,
        layer_decay=1.0,
        dropout=0.0,
        label_smoothing=0.0,
        patience=EPOCHS + 1,
    )
    state = {name: value.detach().clone() for name, value in training.model.core.state_dict().items()}
    lengths = [row.length for row in subject.encoded()]
    order = [
        row
        for epoch in range(EPOCHS)
        for batch in epoch_batches(lengths, batch_size=BATCH, seed=seed, epoch=epoch)
        for row in batch
    ]
    training.run()
    lines = [line for line in training.folder.rows(training.folder.metrics) if "loss" in line]
    curve = [{name: line[name] for name in ("loss", "gradient_norm", "learning_rate")} for line in lines]
    rows = [what.for_trl(subject.task, subject.rows[i]) for i in order]
    return Start(base, method, state, rows, rate, seed), curve


def trl_curve(what: What, start: Start, folder: Path, *, at_once: int = BATCH, mapped: bool = True) -> list[Line]:
    """The same training in TRL.

    Args:
        at_once: rows of a micro-batch; the step has BATCH rows in any case.
        mapped: False leaves warm-up and weight decay to TRL.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer_class, config_class, own = what.trainer(start.method)
    trainer = (as_burnish(trainer_class) if mapped else trainer_class)(
        model=AutoModelForCausalLM.from_pretrained(start.base, dtype=torch.float32),
        args=config_class(**arguments(start, folder, at_once), max_length=None, **own),
        train_dataset=Dataset.from_list(start.rows),
        processing_class=AutoTokenizer.from_pretrained(start.base),
        peft_config=lora if start.method == "lora" else None,
    )
    trainer.model.load_state_dict(start.state)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    names = {"loss": "loss", "gradient_norm": "grad_norm", "learning_rate": "learning_rate"}
    return [{name: line[theirs] for name, theirs in names.items()} for line in lines]


def arguments(start: Start, folder: Path, at_once: int) -> dict[str, Any]:
    """TRL's arguments for burnish's options."""
    return {
        "output_dir": str(folder),
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": BATCH // at_once,
        "learning_rate": start.rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": WARMUP,
        "weight_decay": DECAY,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "seed": start.seed,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def as_burnish(trainer: type[Any]) -> type[Any]:
    """TRL's trainer with burnish's warm-up and decay groups."""
    from transformers import get_scheduler

    class Mapped(trainer):  # type: ignore[misc]
        def get_decay_parameter_names(self, model: Any) -> list[str]:
            return [name for name in super().get_decay_parameter_names(model) if "embed_tokens" not in name]

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            for group in self.optimizer.param_groups:
                group["initial_lr"] = group["lr"]
            self.lr_scheduler = get_scheduler(
                self.args.lr_scheduler_type,
                self.optimizer,
                num_warmup_steps=round(num_training_steps * WARMUP) + 1,
                num_training_steps=num_training_steps + 1,
                scheduler_specific_kwargs={"last_epoch": 0},
            )
            return self.lr_scheduler

    return Mapped


def distance(one: Sequence[Line], other: Sequence[Line], name: str = "loss") -> list[float]:
    """Absolute difference at each step."""
    return [abs(a[name] - b[name]) for a, b in zip(one, other, strict=True)]


def compared(name: str, method: str, seed: int) -> dict[str, Any]:
    """Both curves, and TRL's in smaller pieces and unmapped."""
    what = WHAT[name]
    with tempfile.TemporaryDirectory() as work:
        base = with_template(Path(work))
        start, ours = burnish_curve(what, method, base, Path(work) / "burnish", seed)
        theirs = trl_curve(what, start, Path(work) / "trl")
        pieces = trl_curve(what, start, Path(work) / "pieces", at_once=1)
        unmapped = trl_curve(what, start, Path(work) / "unmapped", mapped=False)
    apart, rounding = distance(ours, theirs), distance(theirs, pieces)
    first = apart[0] / theirs[0]["loss"]
    norms = zip(distance(ours, theirs, "gradient_norm"), theirs, strict=True)
    result = {
        "what": name,
        "method": method,
        "steps": len(ours),
        "rows": len(start.rows),
        "first_loss": ours[0]["loss"],
        "last_loss": ours[-1]["loss"],
        "first_relative": first,
        "largest": max(apart),
        "largest_at_step": 1 + apart.index(max(apart)),
        "rounding": max(rounding),
        "rounding_at_step": 1 + rounding.index(max(rounding)),
        "unmapped": max(distance(ours, unmapped)),
        "gradient_norm_relative": max(norm / line["gradient_norm"] for norm, line in norms),
        "learning_rate_relative": max(distance(ours, theirs, "learning_rate")) / start.rate,
        "same": first <= FIRST and max(apart) <= TIMES * max(rounding),
    }
    curves = {"burnish": ours, "trl": theirs, "trl-one-row-at-a-time": pieces, "trl-unmapped": unmapped}
    return result | {"curves": curves}


def with_template(folder: Path) -> Path:
    """The base with a chat template, which it has none of."""
    from burnish.model.template import OURS, TEMPLATE_FILE

    base = folder / "base"
    shutil.copytree(BASE, base, copy_function=shutil.copyfile)
    (base / TEMPLATE_FILE).write_text(OURS["plain"], encoding="utf-8")
    return base


def summary(results: Sequence[dict[str, Any]]) -> str:
    head = ("training", "loss from, to", "first step", "largest difference", "TRL against itself", "TRL unmapped", "")
    lines = [
        (
            f"{one['what']} {one['method']}, {one['steps']} steps",
            f"{one['first_loss']:.4f}, {one['last_loss']:.4f}",
            f"{one['first_relative']:.1e}",
            f"{one['largest']:.1e} (step {one['largest_at_step']})",
            f"{one['rounding']:.1e} (step {one['rounding_at_step']})",
            f"{one['unmapped']:.1e}",
            "same" if one["same"] else "DIFFERS",
        )
        for one in results
    ]
    return table(head, lines)


def main() -> None:
    found = parser(__doc__ or "", pairs=1)
    found.add_argument("--what", nargs="+", choices=list(WHAT), default=list(WHAT))
    options = parsed(found)
    if importlib.util.find_spec("trl") is None:
        sys.exit("trl_parity: skipped, trl is not installed (pip install trl)")
    absent = [str(path) for path in (BASE, TASKS, PAIRS) if not path.exists()]
    if absent:
        sys.exit(f"trl_parity: skipped, not there: {', '.join(absent)}")
    import torch

    torch.set_num_threads(options.threads)
    with contextlib.redirect_stdout(sys.stderr):
        methods = METHODS[:1] if options.quick else METHODS
        results = [compared(what, method, options.seed) for what in options.what for method in methods]
    report("trl-parity", options, summary(results), {"trainings": results})
    if not all(one["same"] for one in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
