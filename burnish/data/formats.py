"""What the rows of a file are for: recognised by their columns and values, never declared.

Each format has a name, the task it is data for, and one function that turns a row of the file into canonical columns
or says what is wrong with it. `detect_format` tries them in order, the most telling first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from burnish.data import dialogue_formats, other_formats, text_formats
from burnish.data.look import Look
from burnish.data.records import Record
from burnish.data.row_format import RowFormat

_DETECTORS: tuple[Callable[[Look], RowFormat | None], ...] = (
    dialogue_formats.conversation,
    dialogue_formats.preference,
    text_formats.question,
    text_formats.tags,
    text_formats.embedding,
    dialogue_formats.unpaired_preference,
    dialogue_formats.instruction,
    other_formats.media,
    other_formats.interaction,
    text_formats.labelled_text,
    text_formats.scored_text,
    dialogue_formats.graded_prompt,
    dialogue_formats.prompt,
    text_formats.sequence,
    other_formats.table,
    text_formats.document,
)


def detect_format(
    columns: Sequence[str],
    sample: Sequence[Record],
    *,
    tasks: Sequence[str] | None = None,
    called: Mapping[str, str] | None = None,
) -> RowFormat | None:
    """The format of rows with these columns, or None when none of them is recognised.

    Args:
        columns: of the file.
        sample: its first records.
        tasks: that the rows must be for, or names of formats that they must have; None: any.
        called: canonical column -> column of the file, where somebody said so.
    """
    found = _first(Look(columns, sample, tasks), tasks)
    called = called or {}
    if found is not None and all(found.columns.get(key, column) == column for key, column in called.items()):
        return found
    names = {column: canonical for canonical, column in called.items()}
    renamed = [_renamed(record, names) for record in sample]
    again = _first(Look([names.get(column, column) for column in columns], renamed, tasks), tasks)
    if again is None:
        return found
    return replace(again, columns={key: called.get(column, column) for key, column in again.columns.items()})


def _first(look: Look, tasks: Sequence[str] | None) -> RowFormat | None:
    formats = (found for detect in _DETECTORS if (found := detect(look)) is not None)
    return next((found for found in formats if tasks is None or {found.task, found.name} & set(tasks)), None)


def _renamed(record: Record, names: Mapping[str, str]) -> Record:
    return replace(record, values={names.get(column, column): value for column, value in record.values.items()})
