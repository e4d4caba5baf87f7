"""One run at work: its base, its encoded rows and its choices in memory, between the files it reads and writes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from burnish.data.prepare import PreparedData
from burnish.engine.distributed import Ranks, join_ranks
from burnish.engine.faults import is_out_of_memory
from burnish.engine.layout import LayoutChoice, choose_layout
from burnish.engine.loop import Trained, Training
from burnish.engine.precision import Precision, choose_device, choose_precision
from burnish.engine.predict import loss_and_predictions, pooled_features
from burnish.engine.rows import EncodedRows
from burnish.engine.sampler import tokens_at_once
from burnish.engine.selftest import check_invariants
from burnish.engine.vocabulary import compact_vocabulary
from burnish.errors import RecipeError
from burnish.evaluation.metrics import create_metric, find_metric
from burnish.lifecycle.encode import cache, encode_splits
from burnish.lifecycle.environment import default_threads, describe_environment
from burnish.lifecycle.own import Own
from burnish.method.build import build_method
from burnish.method.probe import choose_probe
from burnish.model.load import Base, load_encoder, load_tokenizer, require_known_tokens
from burnish.model.pooled import LinearHead, PooledClassifier, PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.serving.package import save_classifier
from burnish.storage.durable import append_lines, truncate
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Method, Problem, Progress, Split

if TYPE_CHECKING:
    from burnish.task.text_classification import TextClassification


HEAD_START_ROWS = 256  # in all, spread over the classes
HEAD_START_ROWS_OF_A_CLASS = 8  # at least

_PROVEN: dict[str, str] = {}  # what this process has tested, and the sentence about it


@dataclass(slots=True)
class Workbench:
    """Base, rows and choices of one run in memory."""

    recipe: Recipe
    base: Base
    data: PreparedData
    task: TextClassification
    own: Own
    folder: RunFolder
    progress: Progress
    encoded: dict[Split, EncodedRows]
    problems: list[Problem]
    layout: LayoutChoice
    precision: Precision
    device: Any
    model: PooledClassifier
    ranks: Ranks
    _features: dict[Split, np.ndarray[Any, Any]]
    _fresh: PooledEncoder | None = None
    trained: bool = False

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: type[TextClassification],
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> Workbench:
        """Loads the base, encodes all rows and chooses layout and precision; what was chosen is recorded."""
        ranks = join_ranks()
        torch.set_num_threads(_threads(recipe))
        torch.manual_seed(recipe.training.seed)
        device = choose_device()
        precision = choose_precision(recipe.training.precision, device)
        task = task_class(
            load_tokenizer(base.folder),
            data.labels,
            max_length=base.max_length,
            label_smoothing=recipe.training.label_smoothing,
            loss=own.loss,
            **({"class_weights": data.class_weights} if data.class_weights else {}),
        )
        encoded, problems = encode_splits(task, data, progress, ours=own.task is None)
        encoder = load_encoder(base).to(device)
        require_known_tokens(task.tokenizer, encoder, base.folder)
        layout = choose_layout(encoder, encoded[Split.TRAIN], device=device)
        head = own.head(base.width, len(data.labels)) if own.head else None
        model: Any = task.build(
            encoder, width=base.width, pooling=base.pooling, normalize=base.normalize, head=head
        ).to(device)
        return cls(
            recipe=recipe,
            base=base,
            data=data,
            task=task,
            own=own,
            folder=folder,
            progress=progress,
            encoded=encoded,
            problems=problems,
            layout=layout,
            precision=precision,
            device=device,
            model=model,
            ranks=ranks,
            _features={},
        )

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
        }
        self.folder.update_manifest(environment=environment)
        self.progress.note(f"{self.precision.name} ({self.precision.reason}), {self.layout.reason}, {threads} threads")

    def features(self, split: Split) -> np.ndarray[Any, Any]:
        """(rows, D) vectors of the frozen base for the rows of a split; made once for each base and data."""
        if split not in self._features:
            self.progress.stage(f"vectors of the frozen base for the {split.value} rows")
            self._features[split] = self._vectors(self.encoded[split])
        return self._features[split]

    def _vectors(self, rows: EncodedRows) -> np.ndarray[Any, Any]:
        key = self._key_of_vectors(rows)
        kept = cache().find(key)
        if kept is not None:
            return kept["vectors"]
        vectors = pooled_features(
            self._frozen_base(),
            rows,
            layout=self.layout,
            precision=self.precision,
            device=self.device,
            progress=self.progress,
        )
        cache().keep(key, {"vectors": vectors})
        return vectors

    def _key_of_vectors(self, rows: EncodedRows) -> str:
        """Everything that decides their bits."""
        arrays = (rows.arrays[name] for name in ("tokens", "row_ends", "segments", "segment_ends"))
        settled = {
            "base": self.base.describe() | {"adapter": str(self.base.adapter)},
            "rows": [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays],
            "layout": self.layout.reason,
            "precision": self.precision.name,
            "threads": torch.get_num_threads(),
            "environment": describe_environment(),
            "device": str(self.device),
        }
        return canonical_sha256(settled)

    def _frozen_base(self) -> PooledEncoder:
        """The base as it was before the training; loaded anew when the training has changed it."""
        if not self.trained:
            base: PooledEncoder = self.model.base.eval()
            return base
        if self._fresh is None:
            encoder = load_encoder(self.base).to(self.device)
            choose_layout(encoder, self.encoded[Split.TRAIN], device=self.device)
            self._fresh = PooledEncoder(encoder, pooling=self.base.pooling, normalize=self.base.normalize).eval()
        return self._fresh

    def labels(self, split: Split) -> list[str]:
        return [str(example.row["label"]) for example in self.data.splits[split]]

    def _class_ids(self, split: Split) -> np.ndarray[Any, Any]:
        return np.asarray(self.encoded[split].arrays["targets"], dtype=np.int64)

    def _class_weights(self) -> np.ndarray[Any, Any] | None:
        """(C,) how much a row of each class counts in the loss; None when all count the same."""
        weights = self.data.class_weights
        return np.array([weights.get(label, 1.0) for label in self.data.labels]) if weights else None

    def metric_of(self, predictions: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        """The task's metrics (and the caller's own) of predictions for a split."""
        references = [{"label": label} for label in self.labels(split)]
        values = {}
        for name in dict.fromkeys([*self.task.metrics, str(self.recipe.evaluation.metric)]):
            metric = create_metric(name, self.data.labels)
            metric.update(predictions, references)
            values[name] = metric.compute().value
        return values

    def expected_bytes(self) -> int:
        """Disk the run will need: checkpoints with weights, average and two moments, and the final model."""
        weights = sum(p.numel() for p in self.model.parameters()) * 4
        method = self.recipe.method
        learned = weights if method is not None and method.name == "full" else weights // 20
        return (self.recipe.checkpoint.keep + 2) * 4 * learned + 2 * weights + 50_000_000

    def train(self) -> tuple[dict[str, Any], PooledClassifier]:
        """Trains with the recipe's method; gives what the manifest keeps of it, and the model with its best weights."""
        if self.recipe.method is not None and self.recipe.method.name == "head":
            return self._solve_head(), self.model
        return self._train_steps(), self.model

    def _solve_head(self) -> dict[str, Any]:
        """The exact solution of the linear head on the frozen base."""
        self.progress.stage("solving the head")
        if not isinstance(self.model.head, LinearHead):
            raise RecipeError(
                "recipe/invalid",
                "method: head solves a linear head; your own head needs lora or full",
                where="method",
                hint="write `method: lora` or `method: full`",
            )
        started = time.monotonic()
        truncate(self.folder.metrics, 0)
        metric = str(self.recipe.evaluation.metric)

        def score(targets: np.ndarray[Any, Any], predictions: np.ndarray[Any, Any]) -> float:
            guessed = [{"label": self.data.labels[k]} for k in predictions]
            value = self.metric_of(guessed, Split.VALIDATION)[metric]
            return value if find_metric(metric).higher_is_better else -value

        probe = choose_probe(
            self.features(Split.TRAIN),
            self._class_ids(Split.TRAIN),
            self.features(Split.VALIDATION),
            self._class_ids(Split.VALIDATION),
            score,
            class_count=len(self.data.labels),
            class_weights=self._class_weights(),
        )
        best_value = probe.validation_score if find_metric(metric).higher_is_better else -probe.validation_score
        self.model.head.set_(torch.from_numpy(probe.weight).float(), torch.from_numpy(probe.bias).float())
        append_lines(
            self.folder.metrics,
            [{"step": 1, "epoch": 1.0, "validation": {metric: best_value}, "best": True}],
        )
        learned = sum(p.numel() for p in self.model.head.parameters())
        return {
            "steps": 0,
            "epochs": 0,
            "best_step": 1,
            "best_value": best_value,
            "stopped": "solved to convergence",
            "trainable_parameters": learned,
            "total_parameters": sum(p.numel() for p in self.model.parameters()),
            "l2": probe.l2,
            "training_seconds": round(time.monotonic() - started, 2),
        }

    def train_along(self) -> None:
        """The training as the ranks see it that rank 0 leads: same steps, nothing written."""
        assert self.recipe.method is not None
        method = self._attached()
        with self._compacted() as (splits, _):
            training = self._training(method, *splits)
            training.rehearse()
            training.run()

    def _train_steps(self) -> dict[str, Any]:
        self.ranks.tell({"folder": str(self.folder.path.resolve()), "stage": "training"})
        if isinstance(self.model.head, LinearHead):
            self._start_head(self.model.head)
        self.trained = True
        method = self._attached()
        self.progress.stage(f"training ({method.name})")
        total = sum(weight.numel() for weight in self.model.parameters())
        with self._compacted() as (splits, table):
            tested = self._self_test(method, splits[0])
            self.progress.note(tested)
            training = self._training(method, *splits)
            learned = sum(weight.numel() for weight in training.trainable.values())
            self.progress.note(f"{learned / total:.2%} of the weights learn; {table}")
            training.rehearse()
            trained = _describe_training(training.run())
        return trained | {"total_parameters": total, "embedding_table": table, "self_test": tested}

    def _start_head(self, head: LinearHead) -> None:
        """Puts the head at the class means of a few rows of each class; the training moves it anyway."""
        class_of = self._class_ids(Split.TRAIN)
        places = [np.flatnonzero(class_of == k) for k in range(len(self.data.labels))]
        count = max(HEAD_START_ROWS_OF_A_CLASS, HEAD_START_ROWS // len(places))
        few = [p[np.linspace(0, len(p) - 1, min(len(p), count)).round().astype(int)] for p in places]
        chosen = np.sort(np.concatenate(few))
        self.progress.stage(f"vectors of the frozen base for {len(chosen):,} rows, where the head starts")
        rows = EncodedRows.of([self.encoded[Split.TRAIN][i] for i in chosen.tolist()])
        head.cpu().start_from_centroids(
            torch.from_numpy(np.array(self._vectors(rows))), torch.from_numpy(class_of[chosen])
        )

    def _self_test(self, method: Method, rows: Sequence[Encoded]) -> str:
        """Checks the invariants of the engine on some rows; where they do not fit into memory it is left out.

        A process that trains again with the same base, method and layout has proved them already.
        """
        key = canonical_sha256(
            {
                "base": self.base.describe() | {"adapter": str(self.base.adapter)},
                "method": self.recipe.method.model_dump(mode="json") if self.recipe.method else None,
                "task": self.task.name,
                "padded": self.layout.padded,
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
                max_tokens=tokens_at_once(self.recipe.training.micro_batch_tokens, self.device),
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.model.zero_grad(set_to_none=True)
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

    def _compacted(self) -> AbstractContextManager[tuple[list[Sequence[Encoded]], str]]:
        """The training and validation rows for a table of the words they have."""
        rows = (self.encoded[Split.TRAIN], self.encoded[Split.VALIDATION])
        return compact_vocabulary(self.model.encoder, *rows, layout=self.layout, device=self.device)

    def _training(self, method: Method, rows: Sequence[Encoded], validation: Sequence[Encoded]) -> Training:
        return Training(
            task=self.task,
            method=method,
            model=self.model,
            rows=rows,
            validate=lambda model: self._validate(model, validation),
            metric=str(self.recipe.evaluation.metric),
            higher_is_better=find_metric(str(self.recipe.evaluation.metric)).higher_is_better,
            options=self.recipe.training,
            checkpoint=self.recipe.checkpoint,
            folder=self.folder,
            layout=self.layout,
            precision=self.precision,
            device=self.device,
            progress=self.progress,
            ranks=self.ranks,
        )

    def _validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
        """Loss and metrics on the validation rows."""
        options: Any = {"layout": self.layout, "precision": self.precision, "device": self.device}
        loss, predictions = loss_and_predictions(self.task, model, rows, **options)
        return {"loss": loss, **self.metric_of(predictions, Split.VALIDATION)}

    def save_final(self, model: PooledClassifier) -> None:
        self.progress.stage("saving the model")
        assert self.recipe.method is not None
        save_classifier(
            self.folder.final,
            model.cpu(),
            base=self.base,
            labels=self.data.labels,
            method=self.recipe.method.name,
            task=self.task.name,
        )
        self.folder.event("saved", path="final")


def _threads(recipe: Recipe) -> int:
    """CPU threads of this process; several processes on one machine share its cores."""
    threads = recipe.training.threads or default_threads()
    return min(threads, max(1, default_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _describe_training(trained: Trained) -> dict[str, Any]:
    return {
        "steps": trained.steps,
        "epochs": trained.epochs,
        "best_step": trained.best_step,
        "best_value": trained.best_value,
        "stopped": trained.stopped,
        "trainable_parameters": trained.trainable_parameters,
        "total_parameters": trained.total_parameters,
        "training_seconds": trained.seconds,
        "skipped_steps": trained.skipped_steps,
        "rolled_back": trained.rolled_back,
        "memory_retries": trained.memory_retries,
    }
