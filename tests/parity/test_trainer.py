"""The same training in transformers' Trainer: same weights, rows, order and settings give the same losses.

What is mapped: burnish warms up to (step + 1) / (warmup + 1), which is transformers' schedule with one more step of
warm-up, begun one step in, so that no step has a rate of zero; and embeddings get no weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import AutoModel, Trainer, TrainingArguments, get_scheduler

from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.loop import Training
from burnish.engine.optimizer import learning_rate_factor
from burnish.engine.options import CheckpointOptions, TrainingOptions
from burnish.engine.precision import Precision
from burnish.engine.sampler import epoch_batches
from burnish.method.full import Full
from burnish.method.lora import Lora
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Silent

Make = Callable[..., Any]
CPU = torch.device("cpu")
EPOCHS, BATCH, SEED, RATE, DECAY, SMOOTHING = 3, 8, 7, 3e-3, 0.05, 0.1


class Plain(nn.Module):
    """Mean pooling, unit vectors and a linear head over a base, padded; without burnish."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head, self.config = encoder, head, encoder.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        states_BSD = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask_BS1 = attention_mask[..., None]
        pooled_BD = (states_BSD * mask_BS1).sum(1) / mask_BS1.sum(1)
        return {"logits": self.head(20.0 * nn.functional.normalize(pooled_BD, dim=-1))}


class Rows(Dataset[dict[str, Any]]):
    def __init__(self, rows: list[Encoded]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index].token_ids, "labels": int(self.rows[index].targets)}


def padded(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    ids = np.stack([np.pad(row["input_ids"], (0, longest - len(row["input_ids"]))) for row in rows])
    mask = np.stack([np.arange(longest) < len(row["input_ids"]) for row in rows])
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask).long(), "labels": labels}


class SameOrder(Sampler[int]):
    """One epoch of burnish's batches after the other."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.epoch = lengths, -1

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        batches = epoch_batches(self.lengths, batch_size=BATCH, seed=SEED, epoch=self.epoch)
        return iter([row for batch in batches for row in batch])


class Reference(Trainer):
    """transformers' own loop, optimizer, label smoothing, clipping and schedule."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SameOrder([len(row.token_ids) for row in self.train_dataset.rows])

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        return [name for name in super().get_decay_parameter_names(model) if "embeddings" not in name]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        warmup = round(num_training_steps * self.warmup_share)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.lr_scheduler = get_scheduler(
            self.args.lr_scheduler_type,
            self.optimizer,
            num_warmup_steps=warmup + 1,
            num_training_steps=num_training_steps + 1,
            scheduler_specific_kwargs={"last_epoch": 0},
        )
        return self.lr_scheduler


def by_transformers(
    model: nn.Module, rows: list[Encoded], folder: Path, *, schedule: str, warmup: float
) -> list[dict[str, Any]]:
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=DECAY,
        label_smoothing_factor=SMOOTHING,
        lr_scheduler_type=schedule,
        max_grad_norm=1.0,
        seed=SEED,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = Reference(model=model, args=arguments, train_dataset=Rows(rows), data_collator=padded)
    trainer.warmup_share = warmup
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


def by_burnish(
    task: Any,
    model: nn.Module,
    method: Any,
    rows: list[Encoded],
    folder: Path,
    *,
    options: TrainingOptions,
    layout: LayoutChoice,
) -> list[dict[str, Any]]:
    run = RunFolder(folder)
    folder.mkdir()
    Training(
        task=task,
        method=method,
        model=model,
        rows=rows,
        validate=lambda _: {"loss": 1.0},
        metric="loss",
        higher_is_better=False,
        options=options,
        checkpoint=CheckpointOptions(),
        folder=run,
        layout=layout,
        precision=Precision("fp32", ""),
        device=CPU,
        progress=Silent(),
    ).run()
    return [line for line in run.rows(run.metrics) if "loss" in line]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize(("schedule", "warmup"), [("linear", 0.0), ("cosine", 0.2)])
@pytest.mark.parametrize("method", [Full(), Lora(rank=4)], ids=["full", "lora"])
def test_the_losses_of_a_training_are_those_of_transformers_trainer(
    make_base: Make, make_classifier: Make, make_rows: Make, method: Any, schedule: Any, warmup: float, tmp_path: Path
) -> None:
    base = make_base(pooling="mean", normalize=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    rows = make_rows(np.random.default_rng(5).integers(3, 12, size=40).tolist())
    task, model = make_classifier(base, label_smoothing=SMOOTHING)
    layout = choose_layout(model.encoder, rows, device=CPU)
    assert not layout.padded
    model = method.attach(model)
    plain = reference_model(base, model, method)
    options = TrainingOptions(
        epochs=EPOCHS,
        learning_rate=RATE,
        global_batch_size=BATCH,
        micro_batch_tokens=24,
        seed=SEED,
        schedule=schedule,
        warmup_ratio=warmup,
        weight_decay=DECAY,
        layer_decay=1.0,
        average_decay=0.0,
        dropout=0.0,
        label_smoothing=SMOOTHING,
        precision="fp32",
        patience=99,
        log_every_steps=1,
    )
    found = by_burnish(task, model, method, rows, tmp_path / "burnish", options=options, layout=layout)
    wanted = by_transformers(plain, rows, tmp_path / "transformers", schedule=schedule, warmup=warmup)
    assert len(found) == len(wanted) == EPOCHS * 5
    losses = [line["loss"] for line in found]
    # float32 in micro-batches and without padding, carried on over 15 steps: at most 1e-6 and 3e-6 were seen
    assert losses == pytest.approx([line["loss"] for line in wanted], abs=1e-5)
    assert [line["gradient_norm"] for line in found] == pytest.approx([line["grad_norm"] for line in wanted], rel=3e-5)
    assert max(losses) - min(losses) > 0.3  # the weights moved far, so there was something to agree on
    factors = [learning_rate_factor(step, total_steps=len(found), options=options) for step in range(len(found))]
    assert [line["learning_rate"] for line in wanted] == pytest.approx([RATE * factor for factor in factors])


def reference_model(base: Path, model: Any, method: Any) -> Plain:
    """The same weights in a model of transformers and peft alone."""
    from peft import LoraConfig, get_peft_model

    encoder = AutoModel.from_pretrained(base)
    encoder.pooler.requires_grad_(False)
    if isinstance(method, Lora):
        targets = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
        encoder = get_peft_model(encoder, LoraConfig(r=4, lora_alpha=32.0, target_modules=targets))
    encoder.load_state_dict(model.encoder.state_dict())
    head = nn.Linear(16, 2)
    head.load_state_dict(model.head.linear.state_dict())
    return Plain(encoder, head)
