"""The arm of an endpoint that the user names: asked with the training rows most like each row in its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.data.endpoint import Endpoint
from burnish.data.prepare import PreparedData
from burnish.errors import DataReadError, UsageError
from burnish.evaluation.answer_arms import Neighbours
from burnish.evaluation.compare import paired_gain
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.resampling import measured
from burnish.lifecycle.rehearse import Rehearsed
from burnish.recipe.schema import Recipe
from burnish.types import Example, Progress, Row, Split

ASKED = 50  # rows that are sent at most, each with SHOTS training rows
SHOTS = 8
LABELS = "Give the label of the last text. Answer with one of these labels and nothing else: {labels}"
ANSWERS = "Answer the last text as the examples are answered, with the answer and nothing else."


def ask_endpoint(
    endpoint: Endpoint,
    rehearsed: Rehearsed,
    part: PreparedData,
    recipe: Recipe,
    labels: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    """What an endpoint answers to some of the rows that a rehearsal judged on, against the better of the others.

    Returns:
        {"value": the metric on these rows, "gain": how much better than the better of the rehearsed model and the
        strongest arm on the same rows}.

    Raises:
        DataReadError: [data/endpoint-failed] when it does not answer.
    """
    known = [_asked_and_answered(example.row) for example in part.splits[Split.TRAIN]]
    near = Neighbours([text for text, _ in known])
    every = rehearsed.rows
    rows = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(ASKED, len(every))).round().astype(int))]
    progress.stage(f"asking {endpoint.model or endpoint.url} about {len(rows)} rows, with {SHOTS} training rows each")
    task = LABELS.format(labels=", ".join(labels)) if labels else ANSWERS
    answers = []
    for done, (row, nearest) in enumerate(
        zip(rows, near.of([str(row["text"]) for row in rows], SHOTS), strict=True), start=1
    ):
        shown = "\n\n".join(f"Text: {known[i][0]}\nAnswer: {known[i][1]}" for i in reversed(nearest))
        try:
            said = endpoint.ask(task, f"{shown}\n\nText: {row['text']}\nAnswer:", temperature=0.0)
        except (OSError, ValueError) as error:
            raise DataReadError(
                "data/endpoint-failed",
                f"the endpoint does not answer: {error}",
                where=endpoint.url,
                hint="check address, model and key, or leave --endpoint out",
            ) from error
        answers.append(label_in(said, labels) if labels else said.strip())
        progress.advance(done, len(rows), {})
    return _compared(rehearsed, rows, answers, recipe, labels)


def require_askable(example: Example) -> None:
    """Raises UsageError [plan/not-asked] for a row that is neither a text with a label nor a conversation."""
    row = example.row
    if "messages" not in row and not {"text", "label"} <= set(row):
        raise UsageError(
            "plan/not-asked",
            "an endpoint is asked about a text with a label, or a conversation; these rows are neither",
            where=str(example.origin),
            hint="leave --endpoint out",
        )


def _asked_and_answered(row: Row) -> tuple[str, str]:
    """A training row as an example for the prompt."""
    if "messages" in row:
        turns = row["messages"]
        return str(turns[-2].get("content") or "") if len(turns) > 1 else "", str(turns[-1].get("content") or "")
    return str(row["text"]), str(row["label"])


def label_in(said: str, labels: Sequence[str]) -> str:
    """The label that an answer names: itself, in other cases of letters, or the longest inside; else the answer.

    >>> label_in(" Refund.", ["refund", "cancel"]), label_in("no idea", ["refund", "cancel"])
    ('refund', 'no idea')
    """
    answer = said.strip().casefold()
    for label in labels:
        if label.casefold() == answer:
            return label
    inside = [label for label in labels if label.casefold() in answer]
    return max(inside, key=len) if inside else said.strip()


def _compared(
    rehearsed: Rehearsed, rows: Sequence[dict[str, Any]], answers: list[str], recipe: Recipe, labels: Sequence[str]
) -> dict[str, Any]:
    metric = create_metric(rehearsed.evaluation["metric"], labels)
    references = [str(row["label"]) for row in rows]
    others = [
        [str(row["prediction"]) for row in rows],
        [str(row["arms"][rehearsed.evaluation["verdict"]["against"]]) for row in rows],
    ]
    gains = [
        paired_gain(
            metric,
            references,
            answers,
            other,
            resamples=recipe.evaluation.resamples,
            seed=recipe.training.seed,
        )
        for other in others
    ]
    value = measured(metric, references, answers)
    return {"value": value.as_dict(), "gain": min(gains, key=lambda gain: gain.value)}
