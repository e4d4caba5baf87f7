"""Repairs of rows that a recipe asks for, each with its reason: `data.clean`.

Every repair gives the rows that remain, in order, and a Problem for each row it changed or dropped. Corrections come
before the split and touch every part; what drops or cuts rows by their looks touches training rows only, because rows
that are hard to learn from are part of what a model is judged on.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.data.clean import LABEL
from burnish.data.deduplicate import content_name, normal_form
from burnish.data.near_rows import near_row_clusters
from burnish.data.options import CleanOptions
from burnish.data.personal import find_personal_rows, redact
from burnish.errors import DataReadError, excerpt
from burnish.storage.fingerprint import canonical_sha256
from burnish.types import Example, Problem, Provenance, Row

Repaired = tuple[list[Example], list[Problem]]

MAX_CORRECTIONS_BYTES = 256 * 1024**2  # a file of a million corrections has 150 MB
_FENCE = 3.0  # interquartile ranges; "far out" in Tukey, Exploratory Data Analysis, 1977
_FEW = 20  # rows under which quartiles mean nothing


def row_key(row: Row) -> str:
    """What a correction knows a row by: sha256 of its normal form and its label as the file has it.

    >>> row_key({"text": "a  b", "label": "x"}) == row_key({"text": "a b", "label": "x"})
    True
    """
    return canonical_sha256([normal_form(row), row.get(LABEL)])


def relabel(examples: Sequence[Example], corrections: Mapping[str, str | None]) -> Repaired:
    """Rows with the labels that an audit gave them; those it gave none (null) are dropped.

    Args:
        corrections: `row_key` -> label.
    """
    kept, problems = [], []
    for example in examples:
        key = row_key(example.row)
        label = corrections.get(key, "") if key in corrections else example.row.get(LABEL)
        if label == example.row.get(LABEL):
            kept.append(example)
            continue
        before = json.dumps(excerpt(str(example.row.get(LABEL))), ensure_ascii=False)
        if label is None:
            reason = f"the audit found no label that fits, it was {before}"
            problems.append(Problem("data/unfit", reason, example.origin, column=LABEL))
            continue
        after = json.dumps(excerpt(label), ensure_ascii=False)
        problems.append(
            Problem("data/relabelled", f"the audit says {after}, it was {before}", example.origin, "changed", LABEL)
        )
        kept.append(replace(example, row={**example.row, LABEL: label}, provenance=Provenance.CORRECTED))
    return kept, problems


def read_corrections(path: Path, name: str) -> dict[str, str | None]:
    """`row_key` -> label, from a file of lines {"row": key, "label": label or null, ...}.

    Raises:
        DataReadError: [data/no-corrections] when the file is missing or too large, [data/bad-correction] naming the
            first line that is none.
    """
    try:
        if path.stat().st_size > MAX_CORRECTIONS_BYTES:
            raise OSError(0, f"larger than {MAX_CORRECTIONS_BYTES:,} bytes")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataReadError(
            "data/no-corrections",
            f"cannot read the corrections: {error.strerror}",
            where=name,
            hint="make them with `burnish audit DATA --apply`, or leave data.clean.relabel out",
        ) from error
    corrections: dict[str, str | None] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            key, label = entry["row"], entry["label"]
            if not isinstance(key, str) or not (label is None or (isinstance(label, str) and label.strip())):
                raise TypeError
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise DataReadError(
                "data/bad-correction",
                "this line is no correction",
                where=f"{name}:{number}",
                hint='a correction is {"row": KEY, "label": "NEW"}, or "label": null to drop the row',
            ) from error
        corrections[key] = label
    return corrections


def redact_rows(examples: Sequence[Example]) -> Repaired:
    """Rows with personal data and secrets replaced by their kind in brackets; labels and kept columns stay."""
    texts = ["\n".join(_texts_in([v for c, v in example.row.items() if c != LABEL])) for example in examples]
    kinds: dict[int, list[str]] = {}
    for index, span in find_personal_rows(texts):
        kinds.setdefault(index, []).append(span.kind)
    repaired, problems = list(examples), []
    for index, found in kinds.items():
        example = examples[index]
        row = {c: v if c == LABEL else _redacted(v) for c, v in example.row.items()}
        repaired[index] = replace(example, row=row)
        reason = f"redacted: {', '.join(f'{kind} {count}' for kind, count in Counter(found).items())}"
        problems.append(Problem("data/redacted", reason, example.origin, "changed"))
    return repaired, problems


def _texts_in(value: object) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts_in(inner)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redacted(inner) for key, inner in value.items()}
    return [_redacted(inner) for inner in value] if isinstance(value, list | tuple) else value


def drop_near_duplicates(examples: Sequence[Example]) -> Repaired:
    """Of rows that say almost the same, the first with each label.

    Two labels in one cluster may be a distinction the model has to learn ("turn it on", "turn it off").
    """
    first: dict[tuple[int, Any], Example] = {}
    kept, problems = [], []
    clusters = near_row_clusters([example.row for example in examples])
    for example, cluster in zip(examples, clusters, strict=True):
        twin = first.setdefault((int(cluster), example.row.get(LABEL)), example)
        if twin is example:
            kept.append(example)
        else:
            reason = f"almost the same {content_name(example.row)} as {twin.origin}, with the same label"
            problems.append(Problem("data/near-duplicate", reason, example.origin))
    return kept, problems


def repair_training_rows(examples: Sequence[Example], options: CleanOptions) -> Repaired:
    """The repairs by length that a recipe asks for: long rows, then outliers."""
    kept, problems = list(examples), []
    if options.max_characters is not None:
        kept, found = shorten(kept, options.max_characters, drop=options.long_rows == "drop")
        problems += found
    if options.length_outliers != "keep":
        kept, found = settle_length_outliers(kept, drop=options.length_outliers == "drop")
        problems += found
    return kept, problems


def shorten(examples: Sequence[Example], max_characters: int, *, drop: bool, code: str = "data/long-row") -> Repaired:
    """Rows whose texts have at most so many characters: longer ones are cut at the end, or left out."""
    kept, problems = [], []
    for example in examples:
        length = text_length(example.row)
        if length <= max_characters:
            kept.append(example)
            continue
        action = "dropped" if drop else "changed"
        reason = f"a text of {length:,} characters; {max_characters:,} are allowed{'' if drop else ', the rest is cut'}"
        problems.append(Problem(code, reason, example.origin, action))
        if not drop:
            kept.append(replace(example, row=mapped_texts(example.row, lambda text: text[:max_characters])))
    return kept, problems


def settle_length_outliers(examples: Sequence[Example], *, drop: bool) -> Repaired:
    """Rows without those that are far longer or shorter than the others.

    Far is beyond the quartiles of the log length by three interquartile ranges. Short ones are always dropped; long
    ones are dropped, or cut to the fence. Under 20 rows, or when half of them are equally long, nothing is an outlier.
    """
    lengths = sorted(math.log(max(1, text_length(example.row))) for example in examples)
    if len(lengths) < _FEW:
        return list(examples), []
    low, high = lengths[len(lengths) // 4], lengths[3 * len(lengths) // 4]
    if high == low:
        return list(examples), []
    shortest, longest = math.exp(low - _FENCE * (high - low)), math.exp(high + _FENCE * (high - low))
    kept, problems = [], []
    for example in examples:
        if (length := text_length(example.row)) < shortest:
            reason = f"a text of {length:,} characters; three interquartile ranges end at {shortest:,.0f}"
            problems.append(Problem("data/length-outlier", reason, example.origin))
        else:
            kept.append(example)
    kept, found = shorten(kept, math.floor(longest), drop=drop, code="data/length-outlier")
    return kept, problems + found


def text_length(row: Row) -> int:
    """Characters of the longest text of a row."""
    return max((len(value) for column, value in row.items() if column != LABEL and isinstance(value, str)), default=0)


def mapped_texts(row: Row, change: Callable[[str], str]) -> dict[str, Any]:
    """The row with each of its texts changed; its label stays."""
    return {c: change(value) if c != LABEL and isinstance(value, str) else value for c, value in row.items()}
