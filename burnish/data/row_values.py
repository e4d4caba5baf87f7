"""Rows of labels, scores, tags, pairs, media, interactions and tables as canonical columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from burnish.data.conversations import Columns, as_text
from burnish.data.records import RefusedRowError
from burnish.errors import excerpt

Values = Mapping[str, object]
LARGEST = 1e100  # of a number that is learned; its square and the sum of many such squares are finite


def texts(values: Values, columns: Columns) -> dict[str, object]:
    """Canonical columns that are all texts: source and target, anchor and positive, a document."""
    return {name: as_text(values.get(column), name) for name, column in columns.items()}


def pair_with_score(values: Values, columns: Columns) -> dict[str, object]:
    """first, second and how alike they are."""
    return {**texts(values, _without(columns, "score")), "score": number(values.get(columns["score"]), "score")}


def pair_with_label(values: Values, columns: Columns) -> dict[str, object]:
    """first, second and what one is to the other."""
    return {**texts(values, _without(columns, "label")), "label": label(values.get(columns["label"]))}


def text_with_score(values: Values, columns: Columns) -> dict[str, object]:
    """A text and a number."""
    return {
        "text": as_text(values.get(columns["text"]), "text"),
        "score": number(values.get(columns["score"]), "score"),
    }


def text_with_labels(values: Values, columns: Columns, separator: str | None) -> dict[str, object]:
    """A text and its labels: a list, or a text cut at the separator; none at all is an answer too."""
    given = values.get(columns["labels"])
    if isinstance(given, str) and separator:
        given = [part for part in given.split(separator) if part.strip()]
    if given is not None and not isinstance(given, list):
        raise RefusedRowError("data/bad-label", f"the labels are of type {type(given).__name__}, not a list")
    labels = sorted({label(item).strip() for item in given or []})
    return {"text": as_text(values.get(columns["text"]), "text"), "labels": labels}


def tokens_with_tags(values: Values, columns: Columns) -> dict[str, object]:
    """Tokens and a tag for each."""
    tokens, tags = values.get(columns["tokens"]), values.get(columns["tags"])
    if not isinstance(tokens, list) or not isinstance(tags, list):
        raise RefusedRowError("data/wrong-type", "tokens and tags are not both lists")
    if not tokens:
        raise RefusedRowError("data/empty-tokens", "the sentence has no tokens")
    if len(tokens) != len(tags):
        raise RefusedRowError("data/uneven-tags", f"{len(tokens)} tokens and {len(tags)} tags")
    if not all(isinstance(token, str) and token for token in tokens):
        raise RefusedRowError("data/empty-tokens", "a token is empty or no text")
    return {"tokens": tokens, "tags": [label(tag) for tag in tags]}


def question_in_context(values: Values, columns: Columns) -> dict[str, object]:
    """question, context and answers, each with the place of its first character; no answer is an answer too."""
    row: dict[str, object] = {name: as_text(values.get(columns[name]), name) for name in ("question", "context")}
    context, given = str(row["context"]), values.get(columns["answers"])
    if isinstance(given, dict):  # SQuAD: lists side by side
        given = [given] if isinstance(given.get("text"), str) else _side_by_side(given)
    elif given is None or isinstance(given, str):
        given = [{"text": given}] if given else []
    if not isinstance(given, list):
        raise RefusedRowError("data/wrong-type", f"the answers are of type {type(given).__name__}")
    row["answers"] = [_place_of(answer, context) for answer in given]
    return row


def _side_by_side(given: Mapping[object, object]) -> list[object]:
    texts, starts = given.get("text"), given.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise RefusedRowError("data/wrong-type", "the answers are not two lists of one length, text and answer_start")
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _place_of(answer: object, context: str) -> list[object]:
    """Text and first character of an answer; where the place is wrong or missing, the first one that fits."""
    text = answer.get("text") if isinstance(answer, dict) else answer
    start = answer.get("answer_start") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise RefusedRowError("data/empty-answer", "an answer is empty or no text")
    if not isinstance(start, int) or start < 0 or not context.startswith(text, start):
        start = context.find(text)
    if start < 0:
        raise RefusedRowError("data/answer-not-in-context", f'the answer "{excerpt(text)}" is not in the context')
    return [text, start]


def translation(values: Values, columns: Columns) -> dict[str, object]:
    """One column with a text per language: the first is the source."""
    given = values.get(columns["translation"])
    if not isinstance(given, dict) or len(given) != 2:
        raise RefusedRowError("data/wrong-type", "the translation is not an object with two languages")
    source, target = given.values()
    return {"source": as_text(source, "source"), "target": as_text(target, "target")}


def media(values: Values, columns: Columns) -> dict[str, object]:
    """An image or a recording (a path, or its bytes as a data: URL) with a label or a text."""
    row: dict[str, object] = {}
    for name, column in columns.items():
        value = values.get(column)
        if name == "label":
            row[name] = label(value)
        elif isinstance(value, dict):  # as the datasets library keeps it: bytes, or a path
            row[name] = as_text(value.get("bytes") or value.get("path"), name)
        else:
            row[name] = as_text(value, name)
    return row


def interaction(values: Values, columns: Columns) -> dict[str, object]:
    """Who, what, when, what it is called, and how much it was liked."""
    row: dict[str, object] = {name: label(values.get(columns[name]), name) for name in ("user", "item")}
    time = values.get(columns["time"])
    try:
        row["time"] = number(time, "time")
    except RefusedRowError:
        row["time"] = as_text(time, "time")
    if "title" in columns:
        row["title"] = as_text(values.get(columns["title"]), "title")
    if "rating" in columns:
        row["rating"] = number(values.get(columns["rating"]), "rating")
    return row


def table_row(values: Values, columns: Columns) -> dict[str, object]:
    """Every column but the target as it is, and the target, a class, which no row may lack."""
    target = columns["target"]
    return {"features": _features(values, target), "target": label(values.get(target), "target")}


def table_row_with_number(values: Values, columns: Columns) -> dict[str, object]:
    """The same where the target is a number."""
    target = columns["target"]
    return {"features": _features(values, target), "target": number(values.get(target), "target")}


def _features(values: Values, target: str) -> dict[str, object]:
    return {column: value for column, value in values.items() if column != target}


def label(value: object, name: str = "label") -> str:
    """A class as text; numbers and booleans as JSON writes them."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return as_text(value, name)


def number(value: object, name: str) -> float:
    """A finite number of up to LARGEST, also when it is written as text, with a decimal point."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        if value is None or value == "":
            raise RefusedRowError(f"data/empty-{name}", f"the {name} is missing")
        raise RefusedRowError("data/bad-number", f'the {name} "{excerpt(str(value))}" is not a number')
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        finite = False
    if not finite:
        raise RefusedRowError("data/bad-number", f"the {name} is not a finite number")
    if abs(value) > LARGEST:
        raise RefusedRowError("data/bad-number", f"the {name} {float(value):g} is larger than {LARGEST:g}")
    return float(value)


def _without(columns: Columns, name: str) -> Columns:
    return {key: column for key, column in columns.items() if key != name}
