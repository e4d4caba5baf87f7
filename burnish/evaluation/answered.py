"""What predictions.jsonl says, as metrics compare it: the reference of each row, and the answer of one model.

A row of that file is written for people; what a metric needs beside their words, tags, probabilities or several right
answers, stands there too. Two runs on the same test rows can so be compared without opening a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from burnish.evaluation.metrics import LABEL_METRICS, METRICS, create_metric
from burnish.evaluation.metrics.probabilities import OfLikeliest, OfProbabilities
from burnish.task.build import named_as
from burnish.task.text_classification import TextClassification
from burnish.types import Metric

SEPARATOR = "; "  # between the labels of a text
WRITTEN_APART = (  # tasks whose rows are not written as those of text classification are
    *("token-classification", "multi-label-classification", "question-answering"),
    *("seq2seq", "embedding", "tabular"),
)
Key = tuple[str, int, int]
StoredRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """One model's answers to labelled rows, each row under its key.

    Attributes:
        shown: what people read of each row: {"file", "line", "text", "label"}.
        references: what is right, as metrics compare it.
        answers: what the model says, as metrics compare it.
        said: the same as people read it.
        asked: of a task that writes texts, the conversation or the text that is answered.
    """

    shown: Mapping[Key, Mapping[str, Any]]
    references: Mapping[Key, Any]
    answers: Mapping[Key, Any]
    said: Mapping[Key, Any]
    asked: Mapping[Key, Any] = field(default_factory=dict)


def stored_answers(task: str, rows: Sequence[StoredRow], labels: Sequence[str], arm: str | None = None) -> Answered:
    """The answers in the rows of predictions.jsonl.

    Args:
        task: of the run.
        labels: the label set of the task.
        arm: whose answers; None: the tuned model's.

    Raises:
        LookupError: a row does not hold what the metrics of this task compare.
    """
    task = kind_of(task)
    keyed = dict(zip(keys_of([(row["file"], row["line"]) for row in rows]), rows, strict=True))
    said = {key: _said(task, row) if arm is None else row["arms"][arm] for key, row in keyed.items()}
    return Answered(
        shown={key: _shown(row) for key, row in keyed.items()},
        references={key: _reference(task, row, labels) for key, row in keyed.items()},
        answers={key: _answer(task, row, said[key], labels, arm) for key, row in keyed.items()},
        said=said,
        asked={key: row.get("conversation") or row["text"] for key, row in keyed.items() if "text" in row},
    )


def kind_of(task: str) -> str:
    """The task in whose way the answers to this one are written down: its own, or that of the task it refines."""
    return named_as(task, WRITTEN_APART) or TextClassification.name


def keys_of(origins: Sequence[tuple[str, int]]) -> list[Key]:
    """A key for each row: name of the file, line, and how many rows of that line came before it.

    >>> keys_of([("/a/t.csv", 2), ("/a/t.csv", 2), ("/b/t.csv", 3)])
    [('t.csv', 2, 0), ('t.csv', 2, 1), ('t.csv', 3, 0)]
    """
    seen: Counter[tuple[str, int]] = Counter()
    keys = []
    for file, line in origins:
        place = (PurePath(file).name, line)
        keys.append((*place, seen[place]))
        seen[place] += 1
    return keys


def metrics_of(task: str, names: Sequence[str], labels: Sequence[str], positive: str = "") -> list[Metric]:
    """Empty metrics for the answers of a task.

    Args:
        positive: of a table, the class that is looked for.
    """
    return [_metric(task, name, labels, positive) for name in names]


def _metric(task: str, name: str, labels: Sequence[str], positive: str) -> Metric:
    known: Any = METRICS.get(name)
    table = kind_of(task) == "tabular"
    if table and known is not None and issubclass(known, OfProbabilities):
        made: Metric = known(labels, positive)
        return made
    if table and name in LABEL_METRICS:
        return OfLikeliest(create_metric(name, labels), labels)
    return create_metric(name, labels)


def _shown(row: StoredRow) -> dict[str, Any]:
    shown = {name: row.get(name) for name in ("file", "line", "label")}
    return {**shown, "text": row.get("text", row.get("image", ""))}


def _said(task: str, row: StoredRow) -> Any:
    if "loss" in row:
        return row["loss"]
    if task == "embedding":
        return row["places"] if "places" in row else row["similarity"]
    return row["prediction"]


def _reference(task: str, row: StoredRow, labels: Sequence[str]) -> Any:
    if "loss" in row:
        return ""
    if task == "embedding":
        return row["relevant"] if "places" in row else row["score"]
    if task in ("seq2seq", "question-answering"):
        return tuple(row["references"])
    if task == "token-classification":
        return tuple(row["wanted_tags"])
    return _labels_in(row["label"], labels) if task == "multi-label-classification" else row["label"]


def _answer(task: str, row: StoredRow, said: Any, labels: Sequence[str], arm: str | None) -> Any:
    if "loss" in row:
        return repr(said)
    if task == "token-classification" or (task == "tabular" and labels):
        if arm is not None:
            raise LookupError(f"the answers of {arm} are written down in words only")
        return tuple(row["tags" if task == "token-classification" else "probabilities"])
    if task == "multi-label-classification":
        return _labels_in(said, labels)
    return tuple(said) if isinstance(said, list) else said


def _labels_in(said: str, labels: Sequence[str]) -> tuple[str, ...]:
    found = tuple(said.split(SEPARATOR)) if said else ()
    if not set(found) <= set(labels):
        raise LookupError(f'a label holds "{SEPARATOR}"')
    return found
