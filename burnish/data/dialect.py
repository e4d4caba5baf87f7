"""Which delimiter a file uses, and whether its quotes mean anything: decided by looking at a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.data.delimited import Dialect, rows
from burnish.data.lines import Line, TextFile
from burnish.errors import DataReadError
from burnish.types import Problem

ANY_DELIMITER = (",", ";", "\t", "|")
_CLEAN = 0.99  # share of regular rows above which quoting works; the end of the sample may cut one row


def detect_dialect(lines: Sequence[Line], file: TextFile, delimiters: Sequence[str] = ANY_DELIMITER) -> Dialect:
    """The dialect under which most rows of the sample have as many cells as the first.

    Delimiters are tried in the order given; a later one must fit better to win. A file that none of them cuts has
    one column.
    """
    best, best_share = delimiters[0], 0.0
    for delimiter in delimiters:
        share = max(_regular_share(lines, Dialect(delimiter, quoted), file) for quoted in (True, False))
        if share > best_share:
            best, best_share = delimiter, share
    return Dialect(best, quoted=_quotes_have_meaning(lines, best, file))


def is_delimited(lines: Sequence[Line], file: TextFile) -> bool:
    """Whether text is rows of cells: nearly all of two or more lines have as many cells as the first, over one."""
    shares = (_regular_share(lines, Dialect(mark, quoted), file) for mark in ANY_DELIMITER for quoted in (True, False))
    return len(lines) > 1 and any(share >= _CLEAN for share in shares)


def _regular_share(lines: Sequence[Line], dialect: Dialect, file: TextFile) -> float:
    """Share of the rows that have as many cells as the first, 0..1; 0 when that is one cell.

    A quote that stays open costs every line behind it: a few where the sample's end cuts a cell, nearly all where a
    quote was no quoting.
    """
    counts, line, swallowed = [], 0, 0
    try:
        for row in rows(lines, dialect, file):
            line, cells = (row.origin.line, []) if isinstance(row, Problem) else row
            counts.append(len(cells))
    except DataReadError:
        swallowed = lines[-1][0] - line
    if not counts or counts[0] < 2:
        return 0.0
    return counts.count(counts[0]) / (len(counts) + swallowed)


@dataclass(slots=True)
class _QuoteEvidence:
    """What the quotes look like when lines are cut at every delimiter."""

    proper: int = 0  # cells in quotes from end to end, inner quotes doubled
    doubled: int = 0  # of these, cells with a doubled quote inside
    improper: int = 0  # cells that begin with a quote and are not proper
    bare: int = 0  # cells with a quote further in only


def _quotes_have_meaning(lines: Sequence[Line], delimiter: str, file: TextFile) -> bool:
    """Whether double quotes enclose cells (True) or are ordinary characters (False).

    Tab-separated text has no quoting unless the sample shows it; comma-separated text has, unless several cells begin
    with a quote that does not close as it should and the lines are regular without quoting. One open quote in a CSV
    file is a mistake to report, not a convention.
    """
    evidence = _look_at_quotes(lines, delimiter)
    quoted_share = _regular_share(lines, Dialect(delimiter, quoted=True), file)
    literal_share = _regular_share(lines, Dialect(delimiter, quoted=False), file)
    if delimiter == "\t":
        if evidence.improper == evidence.bare == 0:
            return evidence.doubled > 0 or evidence.proper >= max(2, len(lines) - 1)
        return quoted_share > literal_share
    if quoted_share >= min(_CLEAN, literal_share):
        return True
    return evidence.improper <= max(2, evidence.proper)


def _look_at_quotes(lines: Sequence[Line], delimiter: str) -> _QuoteEvidence:
    evidence = _QuoteEvidence()
    for _, text in lines:
        if text is None or '"' not in text:
            continue
        for cell in text.removesuffix("\r").split(delimiter):
            inner = cell[1:-1].replace('""', "")
            if not cell.startswith('"'):
                evidence.bare += '"' in cell
            elif len(cell) > 1 and cell.endswith('"') and '"' not in inner:
                evidence.proper += 1
                evidence.doubled += '""' in cell[1:-1]
            else:
                evidence.improper += 1
    return evidence
