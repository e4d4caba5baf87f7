"""A sentence encoder at work: the pairs it learns from, and what its vectors are judged by along the way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from burnish.data.prepare import PreparedData
from burnish.engine.distributed import join_ranks
from burnish.engine.layout_choice import choose_layout
from burnish.engine.predict import pooled_features
from burnish.engine.rows import EncodedRows
from burnish.engine.vocabulary import compact_vocabulary
from burnish.evaluation.metrics import create_metric, find_metric
from burnish.evaluation.metrics.resampling import value_of
from burnish.lifecycle.embedding_rows import Trial, all_texts, build_task, learned_pairs, trial_of, validation_pairs
from burnish.lifecycle.encode import encode_or_refuse, required, truncated, warn_of_truncated
from burnish.lifecycle.own import Own
from burnish.lifecycle.recommendation_rows import catalogue
from burnish.lifecycle.workbench import Workbench, settled_machine
from burnish.model.load import Base, load_encoder, require_known_tokens
from burnish.model.pooled import PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.serving.embedding_package import save_sentence_encoder
from burnish.storage.run_folder import RunFolder
from burnish.task.embedding import texts_of
from burnish.task.recommendation import Recommendation
from burnish.types import Encoded, Example, Progress, Split

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class EmbeddingBench(Workbench):
    """A base that gives one vector for each text.

    Attributes:
        encoded: the training rows, and for the validation part the texts of its trial, each a row of its own.
        trials: what the vectors are judged by on validation and test.
        pair_places: (B, K) of each validation pair, where its texts are among those of the trial.
        pair_targets: (B, ...) what its loss compares with.
    """

    trials: dict[Split, Trial] = field(default_factory=dict)
    pair_places: Array = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    pair_targets: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def set_up(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: Any,
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> EmbeddingBench:
        """Loads the base, makes and encodes the pairs, and chooses layout and precision."""
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
        task = build_task(recipe, base, data.splits[Split.TRAIN][0].row)
        trials = {split: trial_of(data.splits, split) for split in (Split.VALIDATION, Split.TEST)}
        examples, problems = learned_pairs(data.splits[Split.TRAIN], seed=recipe.training.seed)
        place = data.splits[Split.VALIDATION][0].origin
        texts = [Example({"text": text}, place) for text in all_texts(trials[Split.VALIDATION])]
        number = {example.row["text"]: index for index, example in enumerate(texts)}
        pairs = validation_pairs(data.splits, seed=recipe.training.seed)
        encoded = {
            split: EncodedRows.of(map(required, encode_or_refuse(task, rows), rows))
            for split, rows in {Split.TRAIN: examples, Split.VALIDATION: texts}.items()
        }
        cut = truncated(encoded[Split.TRAIN], examples, task.max_length)
        warn_of_truncated(cut, task.max_length, progress)
        encoder = load_encoder(base).to(device)
        require_known_tokens(task.tokenizer, encoder, base.folder)
        return cls(
            recipe=recipe,
            base=base,
            data=data,
            task=task,
            own=own,
            folder=folder,
            progress=progress,
            encoded=encoded,
            problems=[*problems, *cut],
            layout=choose_layout(encoder, encoded[Split.TRAIN], device=device),
            precision=precision,
            device=device,
            model=PooledEncoder(encoder, pooling=base.pooling, normalize=True).to(device),
            ranks=ranks,
            trials=trials,
            pair_places=np.array([[number[text] for text in texts_of(pair.row)] for pair in pairs]),
            pair_targets=np.stack([row.targets for row in map(required, encode_or_refuse(task, pairs), pairs)]),
        )

    def decides(self) -> tuple[str, bool]:
        name = str(self.recipe.evaluation.metric)
        return name, find_metric(name).higher_is_better

    def validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
        """The loss of the validation pairs and the metrics of their trial, from one vector for each text."""
        place: dict[str, Any] = {"layout": self.layout, "precision": self.precision, "device": self.device}
        vectors_ND = pooled_features(model, rows, **place)
        trial = self.trials[Split.VALIDATION]
        first = len(trial.sides[0])
        answers = trial.answers(vectors_ND[:first], vectors_ND[first:])
        names = dict.fromkeys([*self.task.metrics, str(self.recipe.evaluation.metric)])
        values = {name: value_of(create_metric(name, ()), trial.references, answers) for name in names}
        return {"loss": self._loss_of(vectors_ND), **values}

    def _catalogue(self, model: PooledEncoder) -> tuple[list[str], torch.Tensor]:
        """The items that are recommended, and their vectors (N, D)."""
        items = catalogue(self.data.splits)
        texts = [Example({"text": item}, self.data.splits[Split.TRAIN][0].origin) for item in items]
        rows = list(map(required, encode_or_refuse(self.task, texts), texts))
        place: dict[str, Any] = {"layout": self.layout, "precision": self.precision, "device": self.device}
        return items, torch.from_numpy(pooled_features(model, rows, **place))

    def _loss_of(self, vectors_ND: Array) -> float:
        """Loss per validation pair, in nats; compared in batches as large as those of the training."""
        total, pairs, size = 0.0, len(self.pair_places), self.recipe.training.global_batch_size
        for start in range(0, pairs, size):
            vectors_BKD = vectors_ND[self.pair_places[start : start + size]]
            targets = torch.from_numpy(self.pair_targets[start : start + size])
            total += float(self.task.loss_of(torch.from_numpy(vectors_BKD), targets).total)
        return total / pairs

    def _before_steps(self) -> None:
        """The base starts as it is: no head has to be prepared."""

    def _compacted(self) -> AbstractContextManager[tuple[list[Sequence[Encoded]], str]]:
        """The training rows and the validation texts for a table of the words they have."""
        rows = (self.encoded[Split.TRAIN], self.encoded[Split.VALIDATION])
        return compact_vocabulary(self.model.encoder, *rows, layout=self.layout, device=self.device)

    def save_final(self, model: PooledEncoder) -> None:
        self.progress.stage("saving the model")
        assert self.recipe.method is not None
        described = {"task": self.task.name, "method": self.recipe.method.name, **self.task.describe()}
        items = self._catalogue(model) if self.task.name == Recommendation.name else None
        save_sentence_encoder(self.folder.final, model.cpu(), base=self.base, described=described, catalogue=items)
        self.folder.event("saved", path="final")
