"""A language model that learns from preferences at work: the base's own log-probabilities first, then the steps."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.data.prepare import PreparedData
from burnish.engine.predict import loss_and_predictions, predict_rows
from burnish.engine.rows import EncodedRows
from burnish.lifecycle.chat_bench import ChatBench
from burnish.lifecycle.encode import cache
from burnish.lifecycle.own import Own
from burnish.model.load import Base
from burnish.recipe.schema import Recipe
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.run_folder import RunFolder
from burnish.task.preference import UnpairedPreference
from burnish.types import Encoded, Example, Progress, Row, Split

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class PreferenceBench(ChatBench):
    """A base, its rows with two answers each, and what it thinks of them before it learns anything.

    The reference of `dpo` and `kto` is the base as it comes: for LoRA the model with its adapter off. It does not
    change, so its log-probabilities are computed once, before the first step, and kept by what they depend on.
    """

    paired: bool = True  # the rows are pairs, even where the loss sees single answers

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
    ) -> PreferenceBench:
        """Loads the base, lays prompt and answers out, and asks the base what it thinks of the answers."""
        paired = "chosen" in data.splits[Split.TRAIN][0].row
        if recipe.preference.loss == "kto":
            data = dataclasses.replace(
                data, splits={split: _single_answers(rows) for split, rows in data.splits.items()}
            )
        bench = super(PreferenceBench, cls).set_up(recipe, base, data, task_class, own, folder, progress)
        assert isinstance(bench, PreferenceBench)
        bench.paired = paired
        if isinstance(bench.task, UnpairedPreference):
            seed = recipe.training.seed
            bench.encoded = {
                split: EncodedRows.of(bench.task.with_mismatched(list(rows), seed=seed))
                for split, rows in bench.encoded.items()
            }
        if recipe.preference.has_reference:
            bench.progress.stage("what the base thinks of the answers")
            for split, rows in bench.encoded.items():
                bench.encoded[split] = rows.with_more_given(bench.log_probabilities(rows))
        return bench

    def log_probabilities(self, rows: EncodedRows) -> Array:
        """(N, 2) float64 of both answers of each row, by the base; taken from the cache when they are there."""
        key = canonical_sha256(
            {
                "what": "log-probabilities",
                "base": self.base.describe() | {"adapter": str(self.base.adapter)},
                "rows": hashlib.sha256(
                    b"".join(name.encode() + array.tobytes() for name, array in sorted(rows.arrays.items()))
                ).hexdigest(),
                "padded": self.layout.padded,
                "precision": self.precision.name,
            }
        )
        kept = cache().find(key)
        if kept is None:
            options: Any = {"layout": self.layout, "precision": self.precision, "device": self.device}
            found = predict_rows(self.task, self.model, rows, progress=self.progress, **options)
            kept = {"log_probabilities": np.array([row["log_probabilities"] for row in found], np.float64)}
            if self.ranks.leads:
                cache().keep(key, kept)
        return np.asarray(kept["log_probabilities"])

    def validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
        """The loss per row, the share of pairs whose better answer has the higher reward, and by how much."""
        options: Any = {"layout": self.layout, "precision": self.precision, "device": self.device}
        loss, predictions = loss_and_predictions(self.task, model, rows, **options)
        if self.ranks.leads and self._steps is not None and not self._steps.choosing:
            self.hear(self._steps.step)
        margins = np.array([margin for _, margin in self.margins(Split.VALIDATION, predictions)])
        return {
            "loss": loss,
            "reward-accuracy": float((margins > 0).mean()),
            "reward-margin": float(margins.mean()),
        }

    def margins(self, split: Split, predictions: Sequence[Row]) -> list[tuple[Example, float]]:
        """Each pair with the reward of the better answer minus that of the worse.

        Single answers have one margin each: the reward of a good one, the negative reward of a bad one. Those that
        were made of one pair are a pair again; where only one of them could be read, there is no pair.
        """
        examples = self.data.splits[split]
        if not isinstance(self.task, UnpairedPreference):
            rewards = [row["rewards"] for row in predictions]
            return [(example, r[0] - r[1]) for example, r in zip(examples, rewards, strict=True)]
        signed = [
            (example, row["rewards"][0] * (1.0 if example.row["label"] else -1.0))
            for example, row in zip(examples, predictions, strict=True)
        ]
        if not self.paired:
            return signed
        pairs: dict[str, list[tuple[Example, float]]] = {}
        for example, margin in signed:
            pairs.setdefault(str(example.origin), []).append((example, margin))
        return [(both[0][0], both[0][1] + both[1][1]) for both in pairs.values() if len(both) == 2]


def _single_answers(examples: Sequence[Example]) -> list[Example]:
    """Each pair as a good and a bad answer; single answers as they are."""
    found = []
    for example in examples:
        if "chosen" not in example.row:
            found.append(example)
            continue
        rest = {name: value for name, value in example.row.items() if name not in ("chosen", "rejected")}
        found += [
            dataclasses.replace(example, row={**rest, "completion": example.row[name], "label": name == "chosen"})
            for name in ("chosen", "rejected")
        ]
    return found
