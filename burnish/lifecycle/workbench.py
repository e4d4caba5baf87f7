"""One run at work: its base, its encoded rows and its choices in memory, between the files it reads and writes.

What every task needs is here; what one kind of task needs beside it is in `classifier_bench.py` and `chat_bench.py`.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from burnish.data.prepare import PreparedData
from burnish.engine.choice import Limit
from burnish.engine.distributed import Ranks
from burnish.engine.fp8 import require_fp8
from burnish.engine.layout import LayoutChoice
from burnish.engine.loop import Trained, Training
from burnish.engine.memory import is_out_of_memory, keep_freed_memory, release_memory
from burnish.engine.optimizer_8bit import require_8bit_moments
from burnish.engine.precision import Precision, choose_device, choose_precision
from burnish.engine.probe import is_long
from burnish.engine.rehearsal import rehearse, surely_fits
from burnish.engine.rows import EncodedRows
from burnish.engine.sampler import tokens_at_once
from burnish.engine.selftest import check_invariants
from burnish.lifecycle.environment import default_threads, describe_torch
from burnish.lifecycle.own import Own
from burnish.method.build import build_method
from burnish.model.load import Base
from burnish.model.quantized import count_weights
from burnish.recipe.schema import Recipe
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Method, Problem, Progress, Split

TESTED = 2_048  # tokens that the self-test computes at once on a GPU: in float32, which is slow there
_PROVEN: dict[str, str] = {}  # what this process has tested, and the sentence about it


@dataclass(slots=True)
class Workbench(ABC):
    """Base, rows and choices of one run in memory."""

    recipe: Recipe
    base: Base
    data: PreparedData
    task: Any
    own: Own
    folder: RunFolder
    progress: Progress
    encoded: dict[Split, EncodedRows]
    problems: list[Problem]
    layout: LayoutChoice
    precision: Precision
    device: Any
    model: Any
    ranks: Ranks
    trained: bool = False
    told: Callable[[Mapping[str, float]], None] | None = None  # of every evaluation; may end the training by raising
    kept_rows: Sequence[Encoded] = ()  # of what must not be forgotten

    @abstractmethod
    def validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
        """Loss and metrics on the validation rows."""

    @abstractmethod
    def decides(self) -> tuple[str, bool]:
        """The metric that decides early stopping, and whether higher is better."""

    @abstractmethod
    def save_final(self, model: Any) -> None:
        """Publishes the tuned model as the run's `final` folder."""

    def record(self) -> None:
        """Writes problems.jsonl and what was chosen for this machine."""
        self.folder.write_rows(self.folder.problems, [p.as_dict() for p in [*self.data.problems, *self.problems]])
        threads = torch.get_num_threads()
        environment = self.folder.manifest()["environment"] | {
            "threads": threads,
            "processes": self.ranks.world,
            "device": "cpu" if self.device.type == "cpu" else torch.cuda.get_device_name(self.device),
            "precision": f"{self.precision.name}: {self.precision.reason}",
            "layout": self.layout.reason,
            **describe_torch(),
        }
        self.folder.update_manifest(environment=environment)
        self.progress.note(f"{self.precision.name} ({self.precision.reason}), {self.layout.reason}, {threads} threads")

    def expected_bytes(self) -> int:
        """Disk the run will need: checkpoints with weights, average and two moments, and the final model."""
        weights: int = sum(p.numel() for p in self.model.parameters()) * 4
        method = self.recipe.method
        learned = weights if method is not None and method.name in ("full", "freeze") else weights // 20
        return (self.recipe.checkpoint.keep + 2) * 4 * learned + 2 * weights + 50_000_000

    def train(self) -> tuple[dict[str, Any], Any]:
        """Trains with the recipe's method; gives what the manifest keeps of it, and the model with its best weights."""
        found = self._train_steps()
        release_memory()  # moments and gradients are gone
        return found, self.model

    def train_along(self) -> None:
        """The training as the ranks see it that rank 0 leads: same steps, nothing written."""
        assert self.recipe.method is not None
        method = self._attached()
        with self._compacted() as (splits, _):
            training = self._training(method, *splits)
            rehearse(training)
            training.run()

    def take_checkpoint(self, step: int) -> Any:
        """The model with the weights of a checkpoint, as they were validated.

        Raises:
            DamagedStoreError: [storage/damaged].
        """
        self._before_steps()
        self.trained = True
        method = self._attached()
        with self._compacted() as (splits, _):
            self._training(method, *splits).take(step)
        return self.model

    def _train_steps(self) -> dict[str, Any]:
        self.ranks.tell({"folder": str(self.folder.path.resolve()), "stage": "training"})
        self._before_steps()
        self.trained = True
        method = self._attached()
        self.progress.stage(f"training ({method.name})")
        total = count_weights(self.model)
        with self._compacted() as (splits, table):
            tested = self._self_test(method, splits[0])
            self.progress.note(tested)
            training = self._training(method, *splits)
            learned = sum(weight.numel() for weight in training.trainable.values())
            self.progress.note(f"{learned / total:.2%} of the weights learn; {table}")
            if not surely_fits(training):
                rehearse(training)
            self.folder.update_manifest(total_steps=training.total_steps)
            trained = _describe_training(training.run())
        return trained | {"total_parameters": total, "embedding_table": table, "self_test": tested}

    @abstractmethod
    def _before_steps(self) -> None:
        """What a kind of task does to the model before a method is attached."""

    def _compacted(self) -> AbstractContextManager[tuple[list[Sequence[Encoded]], str]]:
        """The training and validation rows as the training sees them, and a sentence about the embedding table."""
        rows: list[Sequence[Encoded]] = [self.encoded[Split.TRAIN], self.encoded[Split.VALIDATION]]
        return contextlib.nullcontext((rows, "embedding table: whole"))

    def _self_test(self, method: Method, rows: Sequence[Encoded]) -> str:
        """Checks the invariants of the engine on some rows; where they do not fit into memory it is left out.

        A process that trains again with the same base, method and layout has proved them already.
        """
        key = canonical_sha256(
            {
                "base": self.base.describe() | {"adapter": str(self.base.adapter)},
                "method": self.recipe.method.model_dump(mode="json") if self.recipe.method else None,
                "task": self.task.name,
                "layout": [self.layout.padded, self.layout.across],
                "long": is_long(rows, getattr(getattr(self.model, "encoder", None), "config", None)),
            }
        )
        ours = not self.own.names()
        if ours and key in _PROVEN:
            return _PROVEN[key]
        try:
            tested = check_invariants(
                task=self.task,
                method=method,
                model=self.model,
                rows=rows,
                layout=self.layout,
                device=self.device,
                max_tokens=min(
                    tokens_at_once(self.recipe.training.micro_batch_tokens, self.device),
                    TESTED if self.device.type != "cpu" else 10**9,
                ),
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.model.zero_grad(set_to_none=True)
            release_memory()
            return "self-test: left out, its rows do not fit into memory at once"
        if ours:
            _PROVEN[key] = tested
        return tested

    def _attached(self) -> Method:
        assert self.recipe.method is not None
        method = build_method(self.recipe.method)
        torch.manual_seed(self.recipe.training.seed)
        method.attach(self.model)
        self.model.to(self.device)
        return method

    def limit(self) -> Limit | None:
        """How much the weights chosen at the end may forget; None where nothing was asked before."""
        return None

    def _training(self, method: Method, rows: Sequence[Encoded], validation: Sequence[Encoded]) -> Training:
        metric, higher_is_better = self.decides()

        def validate(model: Any) -> dict[str, float]:
            values = self.validate(model, validation)
            if self.told is not None:
                self.told(values)
            return values

        return Training(
            task=self.task,
            method=method,
            model=self.model,
            rows=rows,
            validate=validate,
            metric=metric,
            higher_is_better=higher_is_better,
            options=self.recipe.training,
            checkpoint=self.recipe.checkpoint,
            folder=self.folder,
            layout=self.layout,
            precision=self.precision,
            device=self.device,
            progress=self.progress,
            ranks=self.ranks,
            kept_rows=self.kept_rows,
            limit=self.limit(),
        )


def settled_machine(recipe: Recipe) -> tuple[Any, Precision]:
    """Device and precision of a run; threads and seed are set."""
    keep_freed_memory()
    torch.set_num_threads(_threads(recipe))
    torch.manual_seed(recipe.training.seed)
    device = choose_device()
    if recipe.training.frozen_products == "fp8":
        require_fp8(device)
    if recipe.training.optimizer == "adamw-8bit":
        require_8bit_moments()
    return device, choose_precision(recipe.training.precision, device)


def _threads(recipe: Recipe) -> int:
    """CPU threads of this process; several processes on one machine share its cores."""
    threads = recipe.training.threads or default_threads()
    return min(threads, max(1, default_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _describe_training(trained: Trained) -> dict[str, Any]:
    return {
        "steps": trained.steps,
        "epochs": trained.epochs,
        "tokens": trained.tokens,
        "best_step": trained.best_step,
        "best_value": trained.best_value,
        "stopped": trained.stopped,
        "trainable_parameters": trained.trainable_parameters,
        "total_parameters": trained.total_parameters,
        "training_seconds": trained.seconds,
        "skipped_steps": trained.skipped_steps,
        "rolled_back": trained.rolled_back,
        "memory_retries": trained.memory_retries,
        "checkpoint_choice": {
            "chosen": trained.chosen,
            "compared": [scored.as_dict() for scored in trained.compared],
        },
    }
