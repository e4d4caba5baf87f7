"""A tuned model with what it says of the rows that its export is compared on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.evaluation.answered import metrics_of
from burnish.lifecycle.embedding_rows import all_texts, trial_of
from burnish.lifecycle.export_proof import (
    NEW_TOKENS,
    TrainedReader,
    TrainedTable,
    TrainedWriter,
    searched,
    spread,
)
from burnish.lifecycle.export_wish import OF_NO_ANSWERS, Wish
from burnish.lifecycle.judge_seq2seq import questions
from burnish.lifecycle.own import Own
from burnish.lifecycle.resolve import answer_text
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import read_rows, refuse_changed_data
from burnish.recipe.read import read_recipe
from burnish.serving.exports.kinds import CHATS
from burnish.serving.exports.source import describe, writes
from burnish.task.embedding import texts_of
from burnish.types import Example, Metric, Progress, Row, Split


@dataclass(slots=True)
class Subject:
    """A tuned model with what it says of the rows that are compared.

    Attributes:
        trained: the model, by the family of its task.
        metric: of the answers, with what is right; None where answers are not measured.
        examples: the rows, for an error that names them.
        of_answers: what the metric compares of the answers, where it is not the answers themselves.
    """

    final: Path
    runs: Path
    trained: TrainedReader | TrainedTable | TrainedWriter
    examples: Sequence[Example]
    metric: Metric | None = None
    references: Sequence[Any] = ()
    of_answers: Callable[[Sequence[Any]], Sequence[Any]] = list
    resamples: int = 1_000
    seed: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def subject_of(loaded: Run, wish: Wish, progress: Progress) -> Subject:
    """The model of a judged run, on rows of its test."""
    recipe, _, prepared = read_rows(read_recipe(loaded.folder.recipe), Own())
    refuse_changed_data(loaded.folder, prepared)
    examples = spread(prepared.splits[Split.TEST], wish.rows)
    evaluation = loaded.evaluation
    task, name = str(evaluation["task"]), str(evaluation["metric"])
    progress.stage(f"what the trained model says of {len(examples):,} test rows")
    subject = opened(loaded.folder.final, loaded.runs, task, examples, evaluation)
    subject.resamples, subject.seed = recipe.evaluation.resamples, recipe.training.seed
    if name not in OF_NO_ANSWERS:
        labels, positive = list(evaluation.get("labels", ())), recipe.table.positive or ""
        (subject.metric,) = metrics_of(task, [name], labels, positive)
        if task == "embedding":
            splits = {Split.TRAIN: prepared.splits[Split.TRAIN][: wish.rows], Split.TEST: examples}
            trial = trial_of(splits, Split.TEST)
            texts = [Example({"text": text}, examples[0].origin) for text in all_texts(trial)]
            subject.trained = TrainedReader(loaded.folder.final, loaded.runs, [each.row for each in texts])
            subject.references = trial.references
            subject.of_answers = lambda vectors: searched(trial, vectors)
        else:
            subject.references = _references(task, subject, examples)
    subject.about = {"run": loaded.id, "of_rows": len(prepared.splits[Split.TEST]), "split": Split.TEST.value}
    return subject


def opened(
    final: Path, runs: Path, task: str, examples: Sequence[Example], evaluation: Mapping[str, Any] | None = None
) -> Subject:
    """A tuned model and what it says of some rows.

    Args:
        evaluation: of the run, which says how long answers may be.
    """
    rows: list[Row] = [example.row for example in examples]
    trained: TrainedReader | TrainedTable | TrainedWriter
    if task == "tabular":
        describe(final)
        trained = TrainedTable(final, rows)
    elif writes(task):
        if task == "seq2seq":
            asked = questions(examples)
            examples = [question.example for question in asked]
            rows = [{"source": question.source} for question in asked]
        most = int(((evaluation or {}).get("diagnostics") or {}).get("max_new_tokens") or NEW_TOKENS)
        trained = TrainedWriter(final, runs, rows, task, most)
    else:
        if task == "embedding":
            rows = [{"text": text} for row in rows for text in texts_of(row)]
        trained = TrainedReader(final, runs, rows)
    return Subject(final, runs, trained, examples)


def _references(task: str, subject: Subject, examples: Sequence[Example]) -> list[Any]:
    if task == "tabular":
        return [example.row["target"] for example in examples]
    if task == "seq2seq":
        return [question.targets for question in questions(examples)]
    if task in CHATS:
        return [answer_text(example.row) for example in examples]
    assert isinstance(subject.trained, TrainedReader)
    return [subject.trained.predictor.task.reference(example.row) for example in examples]
