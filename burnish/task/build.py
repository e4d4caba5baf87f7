"""From the name in a recipe to the task's class; `TASKS` is the registration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from burnish.task.chat import Chat
from burnish.task.embedding import Embedding
from burnish.task.hierarchical import HierarchicalClassification
from burnish.task.image_classification import ImageClassification
from burnish.task.multi_label import MultiLabelClassification
from burnish.task.preference import Preference
from burnish.task.question_answering import QuestionAnswering
from burnish.task.recommendation import Recommendation
from burnish.task.seq2seq import Seq2Seq
from burnish.task.tabular import Tabular
from burnish.task.text_classification import TextClassification
from burnish.task.text_pair import TextPairClassification, TextPairRegression
from burnish.task.text_regression import TextRegression
from burnish.task.token_classification import TokenClassification

TASKS: Mapping[str, Any] = {
    task.name: task
    for task in (
        TextClassification,
        HierarchicalClassification,
        MultiLabelClassification,
        TextRegression,
        TextPairClassification,
        TextPairRegression,
        TokenClassification,
        ImageClassification,
        QuestionAnswering,
        Tabular,
        Chat,
        Preference,
        Embedding,
        Recommendation,
        Seq2Seq,
    )
}
TRAINED_ON: Mapping[str, tuple[str, ...]] = {  # the kinds of rows each learns from, where they are read as a format
    name: task.row_kinds for name, task in TASKS.items() if task.row_kinds
}
WRITING = (Chat.name, Preference.name, Seq2Seq.name)  # tasks whose model writes texts


def worked_as(task: Any, known: Collection[str]) -> str | None:
    """The name under which `known` has a task class, or the nearest of those that it refines; None if there is none."""
    names = (getattr(kind, "name", None) for kind in task.__mro__)
    return next((name for name in names if name in known), None)


def named_as(task: str, known: Collection[str]) -> str | None:
    """The same of a task that is known by its name; None for a task of the caller."""
    return worked_as(TASKS[task], known) if task in TASKS else None
