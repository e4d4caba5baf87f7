"""`burnish runs diff`: what two runs were told, what they learned from, where they ran, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import BurnishError
from burnish.lifecycle.compare import compare
from burnish.lifecycle.datasets import compare as compare_versions
from burnish.lifecycle.environment import environment_differences
from burnish.recipe.difference import recipe_differences
from burnish.recipe.read import read_recipe
from burnish.registry.runs import find_run
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder

OF_BASE = ("name", "sha256", "license", "max_length", "quantization", "initialization")
RESULTS = ("metric", "n", "sentence", "answer", "difference", "models")  # of a comparison; its rows are left out


def diff_runs(a: str, b: str) -> dict[str, Any]:
    """Everything in which two runs differ.

    Args:
        a, b: id, unique beginning of an id, or folder.

    Returns:
        {"a", "b", "recipe", "base", "environment": each a list of {"what", "before", "now"}, "data": {"before",
        "after", "same", "counts": rows that came, went or changed their label, or None with "reason", "splits"},
        "results": a comparison on the test rows that both were judged on, or {"models", "reason"} where there is
        none}.

    Raises:
        RunError: [run/not-found], [run/ambiguous].
    """
    first, second = (find_run(name, settings().runs) for name in (a, b))
    one, two = first.manifest(), second.manifest()
    return {
        "a": first.id,
        "b": second.id,
        "recipe": _recipes(first, second),
        "data": _data(one.get("data", {}), two.get("data", {})),
        "base": _bases(one.get("base", {}), two.get("base", {})),
        "environment": environment_differences(one.get("environment", {}), two.get("environment", {})),
        "results": _results(first, second),
    }


def _recipes(first: RunFolder, second: RunFolder) -> list[dict[str, Any]]:
    """Field by field; a run that stopped before its recipe was settled has none."""
    recipes = [read_recipe(folder.recipe) if folder.recipe.is_file() else None for folder in (first, second)]
    if recipes[0] is None or recipes[1] is None:
        return []
    return recipe_differences(recipes[0], recipes[1])


def _bases(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"what": name, "before": one.get(name), "now": two.get(name)}
        for name in OF_BASE
        if one.get(name) != two.get(name)
    ]


def _data(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    """The two data versions, and how many rows lie between them."""
    before, after = one.get("version"), two.get("version")
    parts = one.get("split_fingerprint"), two.get("split_fingerprint")
    found = {
        "before": before,
        "after": after,
        "same": before == after,
        "same_split": parts[0] == parts[1],
        "splits": [one.get("splits"), two.get("splits")],
        "counts": None,
    }
    if before is None or after is None:
        return {**found, "reason": "a run without a data version"}
    if before == after:
        return {**found, "counts": {"added": 0, "removed": 0, "relabelled": 0}}
    try:
        return {**found, "counts": compare_versions(before, after)["counts"]}
    except BurnishError as error:  # a version that is gone, forgotten or damaged
        return {**found, "reason": error.message}


def _results(first: RunFolder, second: RunFolder) -> dict[str, Any]:
    """The comparison of `burnish compare`; where there is none, what each said of itself, and why there is none."""
    try:
        found = compare(first.path, second.path)
        return {name: found[name] for name in RESULTS}
    except (BurnishError, OSError) as error:
        reason = error.message if isinstance(error, BurnishError) else "a run was not judged"
        return {"models": {"a": _tuned(first), "b": _tuned(second)}, "reason": reason}


def _tuned(folder: RunFolder) -> dict[str, Any]:
    if not folder.evaluation.is_file():
        return {}
    tuned: dict[str, Any] = folder.content(folder.evaluation)["models"]["tuned"]
    return tuned
