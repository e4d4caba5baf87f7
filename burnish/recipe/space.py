"""What a sweep searches: fields of a recipe, each with a range or a list: `training.learning_rate=1e-5..1e-3`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.errors import RecipeError, excerpt
from burnish.recipe.read import build_recipe
from burnish.recipe.schema import Recipe

RATE_FACTOR = "training.learning_rate x"  # of the rate that base, method and rows get by themselves
LOGARITHMIC = 10.0  # a range whose ends are this many times apart is searched by orders of magnitude
PLACE = "--over"
EXAMPLE = "--over training.learning_rate=1e-5..1e-3 --over method.rank=8,16,32"
# Every trial is judged on the same rows by the same measure, and what is found is a property of the recipe.
FIXED = ("task", "data", "table", "evaluation", "training.seed", "training.threads", "training.processes")
RANGE = re.compile(r"(?P<low>[-+0-9.eE]+)\.\.(?P<high>[-+0-9.eE]+)")

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Dimension:
    """A field and what it may be: one of `choices`, or a number from `low` to `high`.

    Attributes:
        whole: whether the numbers are whole ones.
        logarithmic: whether orders of magnitude are searched alike, and not the numbers.
    """

    field: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    logarithmic: bool = False

    def ends(self) -> tuple[Value, ...]:
        """All choices, or both ends of the range."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


def parse_dimension(text: str) -> Dimension:
    """The dimension that `field=low..high` or `field=a,b,c` says.

    Raises:
        RecipeError: [sweep/bad-space] when it is neither, or when the field is the same in every trial.

    >>> parse_dimension("method.rank=4..64").logarithmic, parse_dimension("method=lora,full").choices
    (True, ('lora', 'full'))
    """
    field, equals, values = (part.strip() for part in text.partition("="))
    if not field or not equals or not values:
        raise _bad(text, "is not FIELD=LOW..HIGH or FIELD=A,B,C")
    fixed = next((name for name in FIXED if field == name or field.startswith(f"{name}.")), None)
    if fixed is not None:
        raise _bad(text, f"{fixed} is the same in every trial")
    match = RANGE.fullmatch(values)
    if match is None:
        choices = tuple(dict.fromkeys(choice.strip() for choice in values.split(",")))
        if len(choices) < 2 or not all(choices):
            raise _bad(text, "names fewer than two values")
        return Dimension(field, choices)
    try:
        low, high = float(match["low"]), float(match["high"])
    except ValueError:
        raise _bad(text, "has a range whose ends are not numbers") from None
    if not low < high < math.inf:
        raise _bad(text, "has a range that ends where it begins, or before")
    whole = all(end.lstrip("+-").isdecimal() for end in match.groups())
    return Dimension(field, (), low, high, whole, low > 0 and high / low >= LOGARITHMIC)


def parse_space(texts: Sequence[str], tree: Mapping[str, Any]) -> tuple[Dimension, ...]:
    """All dimensions, methods and bases first, for other fields may depend on them.

    Args:
        tree: the recipe as plain dicts; it must take every end of every dimension.

    Raises:
        RecipeError: [sweep/bad-space] also for a field that is named twice; [recipe/invalid] for a value that the
            recipe does not take.
    """
    found = [parse_dimension(text) for text in texts]
    names = [dimension.field for dimension in found]
    for text, name in zip(texts, names, strict=True):
        if names.count(name) > 1:
            raise _bad(text, f"{name} is named more than once")
    order = sorted(found, key=lambda dimension: (dimension.field not in ("method", "method.name"), dimension.field))
    for dimension in order:
        for value in dimension.ends():
            _require_taken(tree, dimension.field, value, order)
    return tuple(order)


def _require_taken(tree: Mapping[str, Any], field: str, value: Value, order: Sequence[Dimension]) -> None:
    """Raises RecipeError unless the recipe takes a value, with one of the methods that are searched too."""
    methods = next((d.choices for d in order if d.field == "method"), ()) if field.startswith("method.") else ()
    error: RecipeError | None = None
    for method in methods or (None,):
        first = [f"method={method}"] if method is not None else []
        try:
            build_recipe(_copy(tree), [*first, f"{field}={value}"], source=PLACE)
        except RecipeError as problem:
            error = problem
        else:
            return
    assert error is not None
    raise error


def with_values(tree: Mapping[str, Any], values: Mapping[str, Value]) -> Recipe:
    """The recipe of a trial.

    Args:
        values: of fields, in the order they are set; RATE_FACTOR is no field and left to whoever knows the rate.
    """
    changes = [f"{field}={value}" for field, value in values.items() if field != RATE_FACTOR]
    return build_recipe(_copy(tree), changes, source="trial")


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _bad(text: str, what: str) -> RecipeError:
    return RecipeError("sweep/bad-space", f'"{excerpt(text)}" {what}', where=PLACE, hint=EXAMPLE)
