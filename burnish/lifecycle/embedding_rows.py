"""What rows of an embedding's data become: pairs to learn from, and what the vectors are judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from burnish.errors import DataProblemError, RecipeError
from burnish.evaluation.similarity import ScoredTexts, Search, search_of_labels, search_of_pairs
from burnish.lifecycle.recommendation_rows import choices_of, histories
from burnish.model.load import Base, load_tokenizer
from burnish.recipe.schema import Recipe
from burnish.task.embedding import Embedding
from burnish.task.pairing import paired
from burnish.task.recommendation import class_for
from burnish.types import Example, Problem, Row, Split

Trial = Search | ScoredTexts
Splits = Mapping[Split, Sequence[Example]]


def build_task(recipe: Recipe, base: Base, first: Row) -> Embedding:
    """The task for rows like the first one.

    Raises:
        RecipeError: [recipe/invalid] for options that such rows or this base have no use for.
    """
    options = recipe.embedding
    if "score" in first and options.symmetric:
        raise RecipeError(
            "recipe/invalid",
            "pairs with a score are the same in both directions",
            where="embedding.symmetric",
            hint="leave it out",
        )
    if any(length >= base.width for length in options.dimensions):
        raise RecipeError(
            "recipe/invalid",
            f"vectors of {base.name} have {base.width} numbers and can be cut to fewer ones only",
            where="embedding.dimensions",
            hint=f"write lengths under {base.width}",
        )
    return class_for(first)(load_tokenizer(base.folder), options, max_length=base.max_length)


def learned_pairs(examples: Sequence[Example], *, seed: int) -> tuple[list[Example], list[Problem]]:
    """The rows as they are learned from: those of a text and a label get another text of their label, choices what
    their user chose before."""
    if "item" in examples[0].row:
        return _first_left_out(examples)
    if "text" not in examples[0].row:
        return list(examples), []
    rows = [example.row for example in examples]
    pairs = paired(rows, rows, seed=seed)
    found = [
        dataclasses.replace(example, row=pair)
        for example, pair in zip(examples, pairs, strict=True)
        if pair is not None
    ]
    alone = [
        Problem("data/alone", f'no other text has the label "{example.row["label"]}"', example.origin)
        for example, pair in zip(examples, pairs, strict=True)
        if pair is None
    ]
    if not found:
        raise DataProblemError(
            "data/no-pairs",
            f"none of the {len(rows)} texts has another text of its label to belong to",
            where=str(examples[0].origin),
            hint="add rows: at least two per label",
        )
    return found, alone


def _first_left_out(examples: Sequence[Example]) -> tuple[list[Example], list[Problem]]:
    """The choices with their histories; the first one of each user has none."""
    found = histories({Split.TRAIN: examples}, Split.TRAIN)
    if not found:
        raise DataProblemError(
            "data/no-pairs",
            f"no user has two of the {len(examples)} training rows: there is nothing that came next",
            where=str(examples[0].origin),
            hint="give more rows of each user",
        )
    return found, []


def trial_of(splits: Splits, part: Split) -> Trial:
    """What vectors are judged by on a part of the data.

    Pairs with a score: the score itself. Other pairs: the anchors of the part search all its positives and negatives.
    Rows of a text and a label: the texts of the part search the training rows for those of their label. Choices: what
    a user chose before searches all items of the training rows for the choice.

    Raises:
        DataProblemError: [data/no-pairs] when nothing that is searched for can be found.
    """
    examples = splits[part]
    rows = [example.row for example in examples]
    if "item" in rows[0]:
        return choices_of(splits, part)
    if "score" in rows[0]:
        sides = ([row[name] for row in rows] for name in ("first", "second", "score"))
        return ScoredTexts(*sides)
    if "anchor" in rows[0]:
        return search_of_pairs(rows)
    search = search_of_labels(rows, [example.row for example in splits[Split.TRAIN]])
    if not search.queries:
        raise DataProblemError(
            "data/no-pairs",
            f"no label of the {part.value} rows is one of the training rows: there is nothing to find",
            where=str(examples[0].origin),
            hint="give training rows with the same labels",
        )
    return search


def validation_pairs(splits: Splits, *, seed: int) -> list[Example]:
    """The validation rows with the texts that their loss compares; rows of a label with one of the training texts
    that they are to find."""
    examples = list(splits[Split.VALIDATION])
    if "item" in examples[0].row:
        return histories(splits, Split.VALIDATION)
    if "text" not in examples[0].row:
        return examples
    among = [example.row for example in splits[Split.TRAIN]]
    pairs = paired([example.row for example in examples], among, seed=seed)
    return [
        dataclasses.replace(example, row=pair)
        for example, pair in zip(examples, pairs, strict=True)
        if pair is not None
    ]


def all_texts(trial: Trial) -> list[str]:
    """The texts of both sides."""
    first, second = trial.sides
    return [*first, *second]
