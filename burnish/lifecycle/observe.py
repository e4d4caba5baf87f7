"""What the monitor sees of rows: the same code makes it of a run's test rows and of new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from burnish.data.table import Table, cell, word_of
from burnish.evaluation.arms import unit_rows
from burnish.lifecycle.encoder_bench import EncoderBench
from burnish.lifecycle.workbench import Workbench
from burnish.model.load import Base
from burnish.model.pooled import READ
from burnish.monitoring.drift import COLUMN, CONFIDENCE, LABEL, LENGTH, PREDICTION, Sample
from burnish.monitoring.reference import save_reference
from burnish.serving.table_predict import TablePredictor
from burnish.storage.run_folder import RunFolder
from burnish.task.build import WRITING
from burnish.task.tabular import Tabular
from burnish.types import Progress, Row, Split

if TYPE_CHECKING:
    from burnish.monitoring.two_sample import Array

CLASSIFYING = (
    *("text-classification", "hierarchical-classification", "text-pair-classification", "multi-label-classification"),
)
NUMBERING = ("text-regression", "text-pair-regression")
READING = ("token-classification", "question-answering")  # their answers are pieces of the texts, which are not kept
WATCHED = (*CLASSIFYING, *NUMBERING, *READING, *WRITING, Tabular.name)
INPUTS = ("text", "first", "second", "question", "context", "tokens", "source", "prompt", "messages")
WORD_VECTOR = 512  # places that words are hashed to


def keep_reference(folder: RunFolder, bench: Workbench) -> None:
    """Publishes what later rows are compared with: a seeded cut of the test rows, see `monitoring.reference`."""
    most = bench.recipe.monitoring.reference_rows
    if not most or bench.task.name not in WATCHED:
        return
    examples = bench.data.splits[Split.TEST]
    places = cut(len(examples), most, seed=bench.recipe.training.seed)
    rows = [examples[place].row for place in places]
    judged = folder.rows(folder.predictions)
    said = [judged[place] for place in places] if len(judged) == len(examples) else []
    if bench.task.name == Tabular.name:
        features = [row["features"] for row in rows]
        answers = TablePredictor(folder.final).predict(features)  # of the model that the verdict chose
        right = [row["target"] for row in rows]
        sample = table_sample(bench.task.table, features, list(map(recorded, answers, right)))
    else:
        sample = text_sample(bench.task.name, rows, _vectors(bench, rows, places), said)
    save_reference(folder.reference, sample)


def cut(count: int, most: int, *, seed: int) -> list[int]:
    """At most so many places of 0..count-1, drawn by chance, in order."""
    if count <= most:
        return list(range(count))
    chosen: list[int] = np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).tolist()
    return chosen


def _vectors(bench: Workbench, rows: Sequence[Row], places: Sequence[int]) -> Array:
    """The vectors that the arms had of these rows, where they are those of whole texts; else new ones."""
    if isinstance(bench, EncoderBench) and "text" in bench.task.columns and bench.base.pooling != READ:
        return unit_rows(bench.features(Split.TEST)[places])
    return vectors(bench.task.name, rows, bench.base, bench.progress)


def vectors(task: str, rows: Sequence[Row], base: Base, progress: Progress) -> Array:
    """(N, D) unit vectors of inputs: by the frozen base, or of a model that writes by the words themselves.

    What a base that writes makes of a whole prompt depends most on how it ends; which words occur says what it is
    about.
    """
    texts = [input_text(row) for row in rows]
    if task in WRITING:
        from sklearn.feature_extraction.text import HashingVectorizer

        hashed = HashingVectorizer(n_features=WORD_VECTOR, norm="l2").transform(texts)
        return np.asarray(hashed.toarray(), np.float32)
    from burnish.lifecycle.embed import embedder

    return embedder(base, progress=progress)(texts)


def input_text(row: Row) -> str:
    """What a model is asked about, as one text.

    >>> input_text({"text": "where is it", "label": "late"}), input_text({"tokens": ["Ann", "left"], "tags": []})
    ('where is it', 'Ann left')
    """
    parts = [row[name] for name in INPUTS if row.get(name) is not None]
    return "\n".join(_words(part) for part in parts)


def _words(part: Any) -> str:
    if isinstance(part, str):
        return part
    if all(isinstance(turn, str) for turn in part):
        return " ".join(part)
    turns = part[:-1] if part[-1].get("role") == "assistant" else part  # what is learned is no input
    return "\n".join(str(turn.get("content") or "") for turn in turns)


def text_sample(task: str, rows: Sequence[Row], found: Array, said: Sequence[Mapping[str, Any]]) -> Sample:
    """A sample of texts.

    Args:
        found: (N, D) vectors.
        said: the rows of predictions.jsonl for them, or what `recorded` makes of predictions; none of models that
            write.
    """
    numbers = {LENGTH: np.array([len(input_text(row)) for row in rows], np.float64)}
    kinds: dict[str, Sequence[str]] = {}
    if task not in WRITING:
        _add_answers(numbers, kinds, said, whole=task not in READING)
    return Sample(found, numbers, kinds)


def table_sample(table: Table, rows: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]]) -> Sample:
    """A sample of the columns that the model reads."""
    cells = table.number_cells(rows)
    names = [part.column if part.part is None else f"{part.column} ({part.part})" for part in table.numbers]
    numbers = {
        f"{COLUMN}{name}": np.nan_to_num(cells[:, index], nan=-np.inf, neginf=-np.inf)
        for index, name in enumerate(names)
    }
    kinds: dict[str, Sequence[str]] = {
        f"{COLUMN}{part.column}": [_word(row.get(part.column)) for row in rows] for part in table.categories
    }
    _add_answers(numbers, kinds, said, whole=True)
    return Sample(None, numbers, kinds)


def _word(value: Any) -> str:
    known = cell(value)
    return "(missing)" if known is None else word_of(known)


def _add_answers(
    numbers: dict[str, Array],
    kinds: dict[str, Sequence[str]],
    said: Sequence[Mapping[str, Any]],
    *,
    whole: bool,
) -> None:
    """Adds how sure the model is, and with `whole` what it says and what is right, as classes or as numbers."""
    if said and all(row.get("probability") is not None for row in said):
        numbers[CONFIDENCE] = np.array([row["probability"] for row in said], np.float64)
    for name in (PREDICTION, LABEL) if whole else ():
        values = [row.get(name) for row in said]
        if not values or None in values:
            continue
        if all(isinstance(value, int | float) for value in values):
            numbers[name] = np.array(values, np.float64)
        else:
            kinds[name] = [str(value) for value in values]


def recorded(prediction: Row, label: Any = None) -> dict[str, Any]:
    """A prediction as predictions.jsonl writes it: {"prediction", "probability", "label"}."""
    answer = next((prediction[name] for name in ("label", "score", "value") if name in prediction), None)
    probability = prediction.get("probability")
    if "labels" in prediction:
        answer = "; ".join(sorted(prediction["labels"]))
        probability = min(max(p, 1 - p) for p in prediction["probabilities"].values())
    elif probability is None and "tags" in prediction:
        probability = min(prediction["probabilities"])
    if isinstance(label, list | tuple):
        label = "; ".join(sorted(label))
    return {"prediction": answer, "probability": probability, "label": label}
