"""How close a second run of the same recipe came to the first: file by file, step by step, row by row.

Everything is read from the two run folders; nothing is computed with a model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.storage.fingerprint import file_sha256
from burnish.storage.run_folder import RunFolder

CLOCK = frozenset({"seconds", "rows_per_second", "tokens_per_second"})  # differ between any two runs
LOOKS = frozenset({"opened"})  # how often the test rows were judged on
PLACE = frozenset({"file", "line"})  # rows that lie elsewhere are the same rows
LISTED = "files.json"  # sha256 of the files beside it
SHOWN = 20  # numbers of an evaluation, and rows, that are listed one by one


def compare_runs(before: RunFolder, after: RunFolder) -> dict[str, Any]:
    """What is the same in two finished runs, and how far apart the rest is.

    Returns:
        {"bit_equal", "files", "weights", "steps", "evaluation", "predictions"}: bit_equal when the files of final/,
        the logged steps, the predictions and every number of the evaluation are the same, the clock aside.
    """
    files = compare_files(before.final, after.final)
    steps = compare_steps(before.rows(before.metrics), after.rows(after.metrics))
    evaluation = compare_numbers(before.content(before.evaluation), after.content(after.evaluation))
    predictions = compare_predictions(before.rows(before.predictions), after.rows(after.predictions))
    return {
        "bit_equal": all(part["same"] for part in (files, steps, evaluation, predictions)),
        "files": files,
        "weights": compare_weights(before.final, after.final, files["different"]),
        "steps": steps,
        "evaluation": evaluation,
        "predictions": predictions,
    }


def compare_files(before: Path, after: Path) -> dict[str, Any]:
    """Files of two folders by the sha256 of their bytes: {"same", "count", "different", "missing", "added"}."""
    first, second = _hashes(before), _hashes(after)
    return {
        "same": first == second,
        "count": len(first),
        "different": sorted(name for name in first.keys() & second.keys() if first[name] != second[name]),
        "missing": sorted(first.keys() - second.keys()),
        "added": sorted(second.keys() - first.keys()),
    }


def compare_weights(before: Path, after: Path, names: Sequence[str]) -> dict[str, Any] | None:
    """The largest difference of a weight in the safetensors files that differ; None where none does.

    Returns:
        {"largest": absolute difference or None, "file", "tensor", "tensors": how many differ, "of", "other": tensors
        that only one has, or that have another shape}.
    """
    found: list[tuple[float, str, str]] = []
    total, other = 0, []
    files = [name for name in names if name.endswith(".safetensors")]
    for name in files:
        compared, unlike, count = _tensors(before / name, after / name)
        found += [(largest, name, tensor) for tensor, largest in compared.items()]
        other += unlike
        total += count
    if not files:
        return None
    largest, file, tensor = max(found, default=(None, None, None))
    return {"largest": largest, "file": file, "tensor": tensor, "tensors": len(found), "of": total, "other": other}


def compare_steps(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The logged lines of two trainings, the clock aside.

    Returns:
        {"same", "lines": of both, "first_step": of the first line that differs or is missing, "what": its fields as
        {name: [before, after]}}.
    """
    first, second = [_timeless(line) for line in before], [_timeless(line) for line in after]
    nothing: dict[str, Any] = {}
    for one, two in itertools.zip_longest(first, second, fillvalue=nothing):
        if one != two:
            what = {name: [one.get(name), two.get(name)] for name in {**one, **two} if one.get(name) != two.get(name)}
            step = one.get("step", two.get("step"))
            return {"same": False, "lines": [len(first), len(second)], "first_step": step, "what": what}
    return {"same": True, "lines": [len(first), len(second)], "first_step": None, "what": {}}


def compare_numbers(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Two evaluations, value by value.

    Returns:
        {"same", "count": values of the first, "different": how many, "shown": the SHOWN first of them as {"where",
        "before", "after"}, those of the tuned model's metrics before others}.
    """
    first, second = dict(_leaves(before)), dict(_leaves(after))
    names = [name for name in {**first, **second} if not _alike(first.get(name), second.get(name))]
    names.sort(key=lambda name: not name.startswith(("models.tuned.", "verdict.")))
    shown = [{"where": name, "before": first.get(name), "after": second.get(name)} for name in names[:SHOWN]]
    return {"same": not names, "count": len(first), "different": len(names), "shown": shown}


def compare_predictions(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answers to the test rows, in order; where a row lies in a file is left out.

    Returns:
        {"same", "rows": of both, "different": rows with any difference, "flipped": with another answer, "shown": the
        first flipped ones as {"text", "before", "after"}, "largest": difference of a number, such as a probability}.
    """
    pairs = list(zip(map(_unplaced, before), map(_unplaced, after), strict=False))
    unlike = [(one, two) for one, two in pairs if one != two]
    flipped = [(one, two) for one, two in unlike if _answer(one) != _answer(two)]
    return {
        "same": not unlike and len(before) == len(after),
        "rows": [len(before), len(after)],
        "different": len(unlike),
        "flipped": len(flipped),
        "shown": [
            {"text": one.get("text"), "before": _answer(one), "after": _answer(two)} for one, two in flipped[:SHOWN]
        ],
        "largest": max((_farthest(one, two) for one, two in unlike), default=0.0),
    }


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LISTED)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(files)}


def _tensors(before: Path, after: Path) -> tuple[dict[str, float], list[str], int]:
    """Largest difference of each tensor that differs; tensors that cannot be compared; number of tensors."""
    import torch
    from safetensors import safe_open

    with safe_open(before, framework="pt") as first, safe_open(after, framework="pt") as second:
        names = set(first.keys()), set(second.keys())
        found, other = {}, sorted(names[0] ^ names[1])
        for name in sorted(names[0] & names[1]):
            one, two = first.get_tensor(name), second.get_tensor(name)
            if one.shape != two.shape or one.dtype != two.dtype:
                other.append(name)
            elif not torch.equal(one, two):
                found[name] = float((one.double() - two.double()).abs().max())
    return found, other, len(names[0] | names[1])


def _timeless(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in CLOCK}


def _unplaced(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in PLACE}


def _answer(row: Mapping[str, Any]) -> Any:
    """What a row was answered with; None for a number, which is compared by how far it moved."""
    answer = row.get("prediction", row.get("found"))
    return None if isinstance(answer, float) else answer


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside objects and lists under its path, without the clock and what counts looks."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            if key not in CLOCK | LOOKS | PLACE:
                yield from _leaves(child, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, f"{name}[{index}]")
    else:
        yield name, value


def _alike(one: Any, two: Any) -> bool:
    return bool(one == two) or (_is_nan(one) and _is_nan(two))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _farthest(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    """The largest difference between numbers at the same place of two rows."""
    first, second = dict(_leaves(one)), dict(_leaves(two))
    numbers = (
        abs(value - second[name])
        for name, value in first.items()
        if isinstance(value, int | float) and isinstance(second.get(name), int | float)
    )
    return max(numbers, default=0.0)
