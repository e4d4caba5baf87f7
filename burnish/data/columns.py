"""Which column of the file holds which canonical column: as the recipe says, else by name, else by what is in it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from burnish.data.known_names import KNOWN_NAMES, plain_name
from burnish.data.options import DataOptions
from burnish.data.records import SourceShape
from burnish.errors import DataReadError, excerpt, nearest

# A column's name -> its values in the sample, missing ones left out.
Contents = Mapping[str, list[object]]


def infer_columns(shape: SourceShape, options: DataOptions, wanted: Mapping[str, type]) -> dict[str, str]:
    """The file's column for each canonical column, in the order of `wanted`.

    Args:
        shape: the file's columns and sample.
        options: `data.columns` settles what it names.
        wanted: canonical columns and their types, e.g. {"text": str, "label": str}.

    Raises:
        DataReadError: [data/unknown-column] for a name the file does not have, [data/unknown-canonical-column] for a
            key of `data.columns` the task does not read, [data/unclear-column] when neither names nor contents tell.
    """
    check_canonical(options, wanted)
    check_columns(shape, options.columns)
    found = dict(options.columns)
    for search in (_by_name, _by_contents):
        for canonical in wanted:
            if canonical not in found:
                free = [column for column in shape.columns if column not in found.values()]
                candidates = search(shape, canonical, free)
                if len(candidates) > 1:
                    raise _unclear(shape, canonical, candidates)
                if candidates:
                    found[canonical] = candidates[0]
    missing = next((canonical for canonical in wanted if canonical not in found), None)
    if missing:
        raise _unclear(shape, missing, [])
    return {canonical: found[canonical] for canonical in wanted}


def check_columns(shape: SourceShape, columns: Mapping[str, str]) -> None:
    """Raises DataReadError [data/unknown-column] when the file lacks one of the columns."""
    for canonical, column in columns.items():
        if column in shape.columns:
            continue
        close = nearest(column, shape.columns)
        raise DataReadError(
            "data/unknown-column",
            f'has no column "{excerpt(column)}"',
            where=shape.name,
            known=[excerpt(name) for name in shape.columns],
            hint=f"name the column that holds the {canonical}: "
            f"`data: {{columns: {{{canonical}: {close or 'COLUMN'}}}}}` "
            f"(or --set data.columns.{canonical}={close or 'COLUMN'})",
        )


def check_kept_columns(shape: SourceShape, options: DataOptions) -> None:
    """Raises DataReadError [data/unknown-column] when the file lacks a column to group by, to order by or to keep."""
    for column in options.kept_columns:
        if column not in shape.columns:
            close = nearest(column, shape.columns)
            raise DataReadError(
                "data/unknown-column",
                f'has no column "{excerpt(column)}"',
                where=shape.name,
                known=[excerpt(name) for name in shape.columns],
                hint="`data.group_by`, `data.time_column`, `data.keep_columns` and `evaluation.groups` name columns of "
                "the file" + (f': did you mean "{close}"?' if close else ""),
            )


def check_canonical(options: DataOptions, wanted: Mapping[str, object]) -> None:
    """Raises DataReadError [data/unknown-canonical-column] when `data.columns` names what these rows do not have."""
    for canonical in options.columns:
        if canonical not in wanted:
            close = nearest(canonical, wanted)
            raise DataReadError(
                "data/unknown-canonical-column",
                f'this task reads no "{canonical}"',
                where="data.columns",
                known=tuple(wanted),
                hint=f"write `data: {{columns: {{{close or next(iter(wanted))}: {options.columns[canonical]}}}}}`",
            )


def _unclear(shape: SourceShape, canonical: str, candidates: list[str]) -> DataReadError:
    what = f"{len(candidates)} columns could hold" if candidates else "no column clearly holds"
    example = excerpt(candidates[0]) if candidates else "COLUMN"
    return DataReadError(
        "data/unclear-column",
        f"{what} the {canonical}",
        where=shape.name,
        known=[excerpt(name) for name in candidates or shape.columns],
        hint=f"write which one: `data: {{columns: {{{canonical}: {example}}}}}` "
        f"(or --set data.columns.{canonical}={example})",
    )


def _by_name(shape: SourceShape, canonical: str, free: list[str]) -> list[str]:
    """Columns called like the canonical column; else columns with a name that people use for it."""
    same = [column for column in free if plain_name(column) == plain_name(canonical)]
    return same or [column for column in free if plain_name(column) in KNOWN_NAMES.get(canonical, ())]


def _by_contents(shape: SourceShape, canonical: str, free: list[str]) -> list[str]:
    search = _CONTENTS_SEARCH.get(canonical)
    if search is None:
        return []
    values = {column: [record.values.get(column) for record in shape.sample] for column in free}
    return search({column: [value for value in cells if value not in (None, "")] for column, cells in values.items()})


def _longest_texts(contents: Contents) -> list[str]:
    """The column of mostly different texts made of letters that is longest, and every other at least half as long."""
    lengths = {}
    for column, values in contents.items():
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) < len(values) or not texts or 2 * len(set(texts)) < len(texts):
            continue
        joined = "".join(texts)
        if 2 * sum(map(str.isalpha, joined)) >= len(joined):
            lengths[column] = statistics.fmean(map(len, texts))
    longest = max(lengths.values(), default=0.0)
    return [column for column, length in lengths.items() if 2 * length >= longest]


def _repeated_values(contents: Contents) -> list[str]:
    """Columns of at least two different values that occur twice or more on average."""
    candidates = []
    for column, values in contents.items():
        if all(isinstance(value, str | int) for value in values) and 2 <= len(set(values)) <= len(values) // 2:
            candidates.append(column)
    return candidates


_CONTENTS_SEARCH: Mapping[str, Callable[[Contents], list[str]]] = {"text": _longest_texts, "label": _repeated_values}
