"""Which model a run of a table ends with, and what to do, from what evaluation.json says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from burnish.evaluation.metrics import find_metric
from burnish.evaluation.verdict import Answer

Shipped = Literal["transformer", "trees"]


def shipped(evaluation: Mapping[str, Any]) -> Shipped:
    """The trees, which cost less, unless the transformer earned its place.

    It did when the verdict calls it better; in doubt, when it is ahead of the trees on validation and test rows alike.
    """
    answer, gain = evaluation["verdict"]["answer"], evaluation["arms"]["trees"]["difference"]["value"]
    metric, validation = evaluation["metric"], evaluation["validation"]
    ahead = validation["tuned"][metric] - validation["trees"][metric]
    if not find_metric(metric).higher_is_better:
        ahead = -ahead
    in_doubt = answer == Answer.TOO_LITTLE_DATA and gain > 0 and ahead > 0
    return "transformer" if answer == Answer.BETTER or in_doubt else "trees"


def advice(evaluation: Mapping[str, Any], model: Shipped) -> str:
    """What to do: the verdict's own advice where the transformer is better, else what to use in its place.

    Args:
        model: that the run ends with.
    """
    verdict = evaluation["verdict"]
    answer, against = verdict["answer"], verdict["against"]
    if answer == Answer.BETTER:
        return str(verdict["advice"])
    if answer == Answer.TOO_LITTLE_DATA:
        _, mark, rows = str(verdict["advice"]).rpartition("About ")
        return f"This run uses the {model} until more rows tell. {mark}{rows}"
    how = "better than"
    if answer == Answer.SAME:
        how = "nearly as good as" if verdict["low"] > 0 else "as good as"
    if against == "trees":
        return (
            f"Use the trees: gradient-boosted trees are {how} the transformer, train in seconds and are shipped as the "
            "model of this run."
        )
    if against == "mean":
        return (
            f"Do not use a model of these columns: the mean of the training rows is {how} the transformer. Ask for "
            "columns that hold what decides the target."
        )
    return (
        f"Use a linear model of the same columns if you can: it is {how} the transformer and, on validation rows, the "
        "strongest arm. This run ends with the gradient-boosted trees."
    )
