"""What every model that writes texts needs at work: encoded rows, the loss that decides, texts at every evaluation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from burnish.data.clean import check_bad_rows
from burnish.data.prepare import PreparedData
from burnish.engine.loop import Training
from burnish.engine.predict import loss_and_predictions
from burnish.engine.rows import EncodedRows
from burnish.errors import DataProblemError
from burnish.lifecycle.encode import encode_or_refuse
from burnish.lifecycle.workbench import Workbench
from burnish.recipe.schema import Recipe
from burnish.types import Encoded, Example, Method, Problem, Progress, Refusal, Split

SHOWN = 5  # rows listed in a message
BINS = 12  # bars of the report's chart of lengths
BESIDE = ("lora", "qlora", "ia3")  # leave the base as it is: it is asked at the first evaluation, not before the steps

NothingLearned = Callable[[Split, Sequence[Example], Sequence[Problem]], DataProblemError]


@dataclass(slots=True)
class WritingBench(Workbench):
    """A base with its own head for words."""

    too_long: ClassVar[str]  # code of the task's refusal of a row that is too long
    _steps: Training | None = None

    def record(self) -> None:
        """What every bench records, and how long the rows are."""
        Workbench.record(self)
        lengths = np.concatenate([rows.lengths for rows in self.encoded.values()])
        width = -(-int(lengths.max()) // BINS)
        counts = np.bincount((lengths - 1) // width)
        self.folder.update_manifest(
            lengths={
                "ends": [width * (index + 1) for index in range(len(counts))],
                "rows": counts.tolist(),
                "read": self.task.max_length,
                "longer": sum(problem.code == self.too_long for problem in self.problems),
            }
        )

    def decides(self) -> tuple[str, bool]:
        """The loss on what is learned chooses the checkpoint; texts are judged once, by the verdict."""
        return "loss", False

    def validate(self, model: Any, rows: Sequence[Encoded]) -> dict[str, float]:
        """Nats per learned token and the share of tokens foreseen; a few texts are kept for the report."""
        options: Any = {"layout": self.layout, "precision": self.precision, "device": self.device}
        loss, predictions = loss_and_predictions(self.task, model, rows, **options)
        tokens = np.array([row["tokens"] for row in predictions], np.float64)
        hits = np.array([row["accuracy"] for row in predictions])
        if self.ranks.leads and self._steps is not None and not self._steps.choosing:
            self.hear(self._steps.step)
        return {"loss": loss, "token-accuracy": float((hits * tokens).sum() / tokens.sum())}

    @abstractmethod
    def keep_answers(self, step: int) -> None:
        """What the model writes for the first validation rows after `step`, in samples.jsonl."""

    def keep_samples(self, step: int, samples: Sequence[dict[str, Any]]) -> None:
        """Samples of a step behind those of earlier ones; a run that goes on writes the later ones again."""
        before = [row for row in self.folder.rows(self.folder.samples) if row["step"] < step]
        self.folder.write_rows(self.folder.samples, [*before, *({"step": step, **sample} for sample in samples)])

    def hear(self, step: int) -> None:
        """What the model says after `step`; before that, the first time, what the base says."""
        self.hear_base()
        self.keep_answers(step)

    def hear_base(self) -> None:
        """The answers of the base, which are the first samples; a run that goes on has them."""
        if not self.folder.rows(self.folder.samples):
            with self.model.as_base():
                self.keep_answers(0)

    def _before_steps(self) -> None:
        self.model.eval()
        if self.recipe.method is None or self.recipe.method.name not in BESIDE:
            self.hear_base()

    def _training(self, method: Method, rows: Sequence[Encoded], validation: Sequence[Encoded]) -> Training:
        self._steps = Workbench._training(self, method, rows, validation)
        return self._steps


def encode_written(
    task: Any,
    data: PreparedData,
    recipe: Recipe,
    progress: Progress,
    *,
    too_long: str,
    limit: str,
    nothing_learned: NothingLearned,
) -> tuple[dict[Split, EncodedRows], dict[Split, list[Example]], list[Problem]]:
    """The rows of each part, the examples they come from, and a Problem for each that cannot be learned or is long.

    Args:
        too_long: code of the refusals that are counted apart: such rows are no mistake.
        limit: in words, what such rows are longer than.
        nothing_learned: the error for a part without one row to learn from.
    """
    progress.stage("finding what is learned in each row")
    encoded: dict[Split, EncodedRows] = {}
    kept: dict[Split, list[Example]] = {}
    problems: list[Problem] = []
    for split, examples in data.splits.items():
        found = encode_or_refuse(task, examples)
        pairs = [(e, row) for e, row in zip(examples, found, strict=True) if isinstance(row, Encoded)]
        problems += [
            Problem(row.code, row.reason, e.origin)
            for e, row in zip(examples, found, strict=True)
            if isinstance(row, Refusal)
        ]
        if not pairs:
            raise nothing_learned(split, examples, problems)
        kept[split] = [example for example, _ in pairs]
        encoded[split] = EncodedRows.of([row for _, row in pairs])
    long = [problem for problem in problems if problem.code == too_long]
    others = [problem for problem in problems if problem.code != too_long]
    total = sum(map(len, data.splits.values()))
    check_bad_rows(others, total, recipe.data.max_bad_ratio)
    lengths = encoded[Split.TRAIN].lengths
    learned = sum(len(row.targets) for row in encoded[Split.TRAIN])
    progress.note(
        f"train: {learned:,} of {int(lengths.sum()):,} tokens are learned; rows of {int(np.median(lengths)):,} tokens "
        f"in the middle, 95 % under {int(np.quantile(lengths, 0.95)) + 1:,}, longest {int(lengths.max()):,}"
    )
    for found_here, what in ((long, f"longer than {limit}"), (others, "not learned from")):
        if found_here:
            places = ", ".join(str(problem.origin) for problem in found_here[:SHOWN])
            progress.warn(
                f"{len(found_here):,} of {total:,} rows are {what} and left out (listed in problems.jsonl): {places}"
                + (" …" if len(found_here) > SHOWN else "")
            )
    return encoded, kept, problems
