"""A classifier at work: vectors of the frozen base, a head that is solved or started from them, labels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from burnish.data.prepare import PreparedData
from burnish.engine.distributed import join_ranks
from burnish.engine.layout import choose_layout
from burnish.engine.predict import loss_and_predictions, pooled_features
from burnish.engine.rows import EncodedRows
from burnish.engine.vocabulary import compact_vocabulary
from burnish.errors import RecipeError
from burnish.evaluation.metrics import create_metric, find_metric
from burnish.lifecycle.encode import cache, encode_splits
from burnish.lifecycle.environment import describe_environment
from burnish.lifecycle.own import Own
from burnish.lifecycle.workbench import Workbench, settled_machine
from burnish.method.probe import choose_probe
from burnish.model.load import Base, load_encoder, load_tokenizer, require_known_tokens
from burnish.model.pooled import LinearHead, PooledClassifier, PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.serving.package import save_classifier
from burnish.storage.durable import append_lines, truncate
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Progress, Split

if TYPE_CHECKING:
    from burnish.task.text_classification import TextClassification

HEAD_START_ROWS = 256  # in all, spread over the classes
HEAD_START_ROWS_OF_A_CLASS = 8  # at least


@dataclass(slots=True)
class ClassifierBench(Workbench):
    """A base with a head for the labels of the data."""

    _features: dict[Split, np.ndarray[Any, Any]] = field(default_factory=dict)
    _fresh: PooledEncoder | None = None

    @classmethod
    def set_up(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: type[TextClassification],
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> ClassifierBench:
        """Loads the base, encodes all rows and chooses layout and precision; what was chosen is recorded."""
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
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
        )

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
        names = ("tokens", "row_ends", "segments", "segment_ends", "pixels")
        arrays = (rows.arrays[name] for name in names if name in rows.arrays)
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
            self._fresh = self._base_anew().eval()
        return self._fresh

    def _base_anew(self) -> PooledEncoder:
        """The base from its files, laid out as before."""
        encoder = load_encoder(self.base).to(self.device)
        choose_layout(encoder, self.encoded[Split.TRAIN], device=self.device)
        return PooledEncoder(encoder, pooling=self.base.pooling, normalize=self.base.normalize)

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

    def train(self) -> tuple[dict[str, Any], PooledClassifier]:
        """Solves the head, or takes the steps of the recipe's method."""
        if self.recipe.method is not None and self.recipe.method.name == "head":
            return self._solve_head(), self.model
        return self._train_steps(), self.model

    def _before_steps(self) -> None:
        if isinstance(self.model.head, LinearHead):
            self._start_head(self.model.head)

    def decides(self) -> tuple[str, bool]:
        name = str(self.recipe.evaluation.metric)
        return name, find_metric(name).higher_is_better

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

    def _compacted(self) -> AbstractContextManager[tuple[list[Sequence[Encoded]], str]]:
        """The training and validation rows for a table of the words they have."""
        rows = (self.encoded[Split.TRAIN], self.encoded[Split.VALIDATION])
        return compact_vocabulary(self.model.encoder, *rows, layout=self.layout, device=self.device)

    def validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
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
