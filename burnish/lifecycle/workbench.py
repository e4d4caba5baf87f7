"""One run at work: its base, its encoded rows and its choices in memory, between the files it reads and writes."""

from __future__ import annotations

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
from burnish.engine.predict import mean_loss, pooled_features, predict_rows
from burnish.engine.selftest import check_invariants
from burnish.engine.vocabulary import compact_vocabulary
from burnish.errors import RecipeError, UsageError
from burnish.evaluation.metrics import create_metric, find_metric
from burnish.lifecycle.environment import default_threads
from burnish.lifecycle.own import Own
from burnish.method.build import build_method
from burnish.method.probe import choose_probe
from burnish.model.load import Base, load_encoder, load_tokenizer, require_known_tokens
from burnish.model.pooled import LinearHead, PooledClassifier, PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.serving.package import save_classifier
from burnish.storage.durable import append_lines, truncate
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Method, Problem, Progress, Refusal, Split

if TYPE_CHECKING:
    from burnish.task.text_classification import TextClassification


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
    encoded: dict[Split, list[Encoded]]
    problems: list[Problem]
    layout: LayoutChoice
    precision: Precision
    device: Any
    model: PooledClassifier
    ranks: Ranks
    _features: dict[Split, np.ndarray[Any, Any]]
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
        encoded, problems = _encode_splits(task, data, progress)
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
        """(rows, D) vectors of the frozen base for the rows of a split.

        Those of training and validation rows are made before training; the sealed test rows are read by the verdict,
        on a base loaded afresh.
        """
        if split not in self._features:
            self.progress.stage(f"vectors of the frozen base for the {split.value} rows")
            encoder: PooledEncoder = self.model.base
            if self.trained:
                fresh = load_encoder(self.base).to(self.device)
                encoder = PooledEncoder(fresh, pooling=self.base.pooling, normalize=self.base.normalize)
                choose_layout(fresh, self.encoded[split], device=self.device)
            self._features[split] = pooled_features(
                encoder.eval(),
                self.encoded[split],
                layout=self.layout,
                precision=self.precision,
                device=self.device,
                progress=self.progress,
            )
        return self._features[split]

    def labels(self, split: Split) -> list[str]:
        return [str(example.row["label"]) for example in self.data.splits[split]]

    def _class_ids(self, split: Split) -> np.ndarray[Any, Any]:
        return np.array([int(row.targets) for row in self.encoded[split]])

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
        self.features(Split.TRAIN)
        self.features(Split.VALIDATION)
        self.trained = True
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
            self._training(method, *splits).run()

    def _train_steps(self) -> dict[str, Any]:
        self.ranks.tell({"folder": str(self.folder.path.resolve()), "stage": "training"})
        if isinstance(self.model.head, LinearHead):
            targets = torch.from_numpy(self._class_ids(Split.TRAIN))
            self.model.head.cpu().start_from_centroids(torch.from_numpy(self.features(Split.TRAIN)), targets)
        method = self._attached()
        self.progress.stage(f"training ({method.name})")
        total = sum(weight.numel() for weight in self.model.parameters())
        tested = self._self_test(method)
        self.progress.note(tested)
        with self._compacted() as (splits, table):
            training = self._training(method, *splits)
            learned = sum(weight.numel() for weight in training.trainable.values())
            self.progress.note(f"{learned / total:.2%} of the weights learn; {table}")
            trained = _describe_training(training.run())
        return trained | {"total_parameters": total, "embedding_table": table, "self_test": tested}

    def _self_test(self, method: Method) -> str:
        """Checks the invariants of the engine on some rows; where they do not fit into memory it is left out."""
        try:
            return check_invariants(
                task=self.task,
                method=method,
                model=self.model,
                rows=self.encoded[Split.TRAIN],
                layout=self.layout,
                device=self.device,
                max_tokens=self.recipe.training.micro_batch_tokens,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.model.zero_grad(set_to_none=True)
            return "self-test: left out, its rows do not fit into memory at once"

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
        predictions = predict_rows(self.task, model, rows, **options)
        return {"loss": mean_loss(self.task, model, rows, **options), **self.metric_of(predictions, Split.VALIDATION)}

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


def _encode_splits(
    task: TextClassification, data: PreparedData, progress: Progress
) -> tuple[dict[Split, list[Encoded]], list[Problem]]:
    """Token ids of every row; rows cut at the base's limit are listed, rows without tokens stop the run."""
    encoded: dict[Split, list[Encoded]] = {}
    problems: list[Problem] = []
    for split, examples in data.splits.items():
        encoded[split] = []
        for example in examples:
            row = task.encode(example.row)
            if isinstance(row, Refusal):
                raise UsageError(row.code, row.reason, where=str(example.origin), hint="remove this row, or mend it")
            if row.truncated_tokens:
                reason = f"longer than {task.max_length} tokens; the last {row.truncated_tokens} are not read"
                problems.append(Problem("data/truncated", reason, example.origin, action="kept"))
            encoded[split].append(row)
    if problems:
        progress.warn(
            f"{len(problems)} texts are longer than the {task.max_length} tokens the base reads; their end is not read"
            " (listed in problems.jsonl)"
        )
    return encoded, problems


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
