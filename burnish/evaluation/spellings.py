"""Does it hold up when people type as they do? The same rows with typing errors, other case, other spaces and signs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from burnish.evaluation.compare import paired_gain
from burnish.evaluation.metrics.resampling import value_of
from burnish.evaluation.options import EvaluationOptions
from burnish.types import Metric, Row

LETTERS_PER_TYPO = 20  # one slip in so many letters, and at least one
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # letters side by side are hit for each other
_BESIDE = {
    letter: "".join(row[max(0, i - 1) : i] + row[i + 1 : i + 2]) for row in KEYBOARD for i, letter in enumerate(row)
}


def with_typos(text: str, generator: random.Random) -> str:
    """Two letters swapped, or one hit for its neighbour on the keyboard, once in twenty letters.

    Source: the natural and swap noise of Belinkov and Bisk 2018, arXiv:1711.02173, section 4.
    """
    letters = [place for place, character in enumerate(text) if character.isalpha()]
    characters = list(text)
    for place in sorted(generator.sample(letters, min(len(letters), max(1, len(letters) // LETTERS_PER_TYPO)))):
        beside = _BESIDE.get(characters[place].lower())
        swappable = place + 1 < len(characters) and characters[place + 1].isalpha()
        if swappable and (beside is None or generator.random() < 0.5):
            characters[place], characters[place + 1] = characters[place + 1], characters[place]
        elif beside is not None:
            wrong = generator.choice(beside)
            characters[place] = wrong.upper() if characters[place].isupper() else wrong
    return "".join(characters)


def with_other_spaces(text: str, generator: random.Random) -> str:
    """A space more at one place and at both ends, and another end of the sentence."""
    spaces = [place for place, character in enumerate(text) if character == " "]
    if spaces:
        place = generator.choice(spaces)
        text = f"{text[:place]} {text[place:]}"
    return f" {text.rstrip('.!?')}{generator.choice(('', '.', '!', '...'))} "


SPELLINGS: Mapping[str, Callable[[str, random.Random], str]] = {
    "typos": with_typos,
    "upper": lambda text, _: text.upper(),
    "lower": lambda text, _: text.lower(),
    "spaces": with_other_spaces,
}


def judge_spellings(
    rows: Sequence[Row],
    columns: Sequence[str],
    references: Sequence[Any],
    answers: Sequence[Any],
    answer: Callable[[Sequence[Row]], Sequence[Any]],
    metric: Metric,
    *,
    options: EvaluationOptions,
    seed: int,
) -> dict[str, Any]:
    """{"n", "metric", "value", "kinds": {name: {"value", "changed", "drop": {value, low, high, n}}}}.

    The drop is how much better the model is on the rows as they are, from the same rows; changed is the share of rows
    that get another answer.

    Args:
        rows: as they were judged; at most `options.robustness_rows` of them are used, evenly spread.
        columns: of the texts that are spelt otherwise.
        answers: to the rows as they are.
        answer: the model.
        metric: an empty one.
    """
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), options.robustness_rows)).round().astype(int))
    chosen = [rows[i] for i in places.tolist()]
    truth, plain = ([some[i] for i in places.tolist()] for some in (references, answers))
    kinds: dict[str, Any] = {}
    for name, spelt in SPELLINGS.items():
        generator = random.Random(seed)  # noqa: S311  # reproducible, not secret
        said = answer([{**row, **{column: spelt(row[column], generator) for column in columns}} for row in chosen])
        drop = paired_gain(metric, truth, plain, said, resamples=options.resamples, seed=seed)
        changed = sum(a != b for a, b in zip(plain, said, strict=True)) / len(chosen)
        kinds[name] = {"value": value_of(metric, truth, said), "changed": changed, "drop": asdict(drop)}
    return {"n": len(chosen), "metric": metric.name, "value": value_of(metric, truth, plain), "kinds": kinds}
