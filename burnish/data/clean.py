"""From records to examples: canonical columns, checked values, labels that mean one thing each."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from burnish.data.options import DataOptions
from burnish.data.records import Record
from burnish.errors import DataProblemError, excerpt
from burnish.types import Example, Problem, Provenance, Row

LABEL = "label"  # the canonical column whose values are classes
PROVENANCE = "origin"  # the column of a file that says who wrote a row
_SHOWN = 10  # places listed in an error
_SMALL = 20  # rows under which a share means nothing


def to_examples(
    records: Iterable[Record | Problem], columns: Mapping[str, str], wanted: Mapping[str, type], options: DataOptions
) -> Iterator[Example | Problem]:
    """Examples with the canonical columns only; texts are byte for byte those of the file.

    A label that is a number or a boolean in JSON becomes what is written there (1, 0.5, true); `data.label_map` is
    applied. A missing, empty or wrongly typed value makes the row a Problem. Problems pass through.
    """
    for record in records:
        if isinstance(record, Problem):
            yield record
            continue
        row: dict[str, object] = {}
        for canonical, column in columns.items():
            value = record.values.get(column)
            if canonical == LABEL and isinstance(value, int | float):
                value = json.dumps(value)
            problem = _wrong_value(value, canonical, column, wanted[canonical], record)
            if problem:
                yield problem
                break
            row[canonical] = options.label_map.get(str(value), value) if canonical == LABEL else value
        else:
            yield with_extra(row, record, options.kept_columns)


def with_extra(row: Row, record: Record, kept: Sequence[str]) -> Example:
    """The example of a row with the further columns the recipe names, and with who wrote it.

    That is what a column `origin` says, if it says synthetic or corrected; whatever else it says is no word of ours,
    and the row counts as written by a person.
    """
    extra = {name: record.values[name] for name in kept if record.values.get(name) is not None}
    written = record.values.get(PROVENANCE)
    word = written.strip().lower() if isinstance(written, str) else ""
    provenance = Provenance(word) if word in set(Provenance) else Provenance.HUMAN
    return Example(row, record.origin, extra, provenance)


def _wrong_value(value: object, canonical: str, column: str, kind: type, record: Record) -> Problem | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        what = "is missing" if value is None else "is empty"
        return Problem(f"data/empty-{canonical}", f"the {canonical} {what}", record.origin, column=column)
    if not isinstance(value, kind):
        reason = f"the {canonical} is of type {type(value).__name__}, not {kind.__name__}"
        return Problem("data/wrong-type", reason, record.origin, column=column, excerpt=excerpt(str(value)))
    return None


def settle_label_variants(examples: Iterable[Example], *, merge: bool) -> tuple[dict[str, str], list[str]]:
    """What each misspelt label becomes, and a note per family: labels that differ only by case or whitespace.

    The most frequent spelling stays. Without variants the mapping is empty.

    Raises:
        DataProblemError: [data/label-variants] when there are variants and `merge` is False.
    """
    counts: Counter[str] = Counter()
    first: dict[str, Example] = {}
    for example in examples:
        label = example.row[LABEL]
        counts[label] += 1
        first.setdefault(label, example)
    families = _families(counts)
    mapping = {variant: kept for kept, *others in families for variant in others}
    if mapping and not merge:
        raise DataProblemError(
            "data/label-variants",
            f"{len(mapping) + len(families)} labels differ only by case or whitespace",
            where=str(
                min((first[variant].origin for variant in mapping), key=lambda origin: (origin.file, origin.line))
            ),
            details=[
                f"{_quoted(label)}: {counts[label]:,} rows, first {first[label].origin}"
                for family in families
                for label in family
            ],
            hint=f"`data: {{label_map: {{{', '.join(f'{_quoted(v)}: {_quoted(k)}' for v, k in mapping.items())}}}}}`, "
            "or `data: {merge_label_variants: true}`",
        )
    notes = [
        f"label {_quoted(variant)} ({counts[variant]:,} rows) merged into {_quoted(kept)}"
        for variant, kept in mapping.items()
    ]
    return mapping, notes


def _families(counts: Mapping[str, int]) -> list[list[str]]:
    """Groups of two or more spellings of one label, the most frequent spelling first."""
    spellings = defaultdict(list)
    for label in counts:
        spellings[" ".join(unicodedata.normalize("NFC", label).casefold().split())].append(label)
    return [sorted(family, key=lambda label: (-counts[label], label)) for family in spellings.values() if family[1:]]


def check_labels(examples: Sequence[Example]) -> list[str]:
    """Warnings about labels that can be learned but hardly judged: those with one row.

    Raises:
        DataProblemError: [data/one-class] when every row has the same label.
    """
    counts = Counter(example.row[LABEL] for example in examples)
    if len(counts) == 1:
        label = next(iter(counts))
        raise DataProblemError(
            "data/one-class",
            f"all {len(examples):,} rows have the label {_quoted(label)}: there is nothing to tell apart",
            where=str(examples[0].origin),
            hint="check `data.columns`: another column may hold the label",
        )
    return [
        f"label {_quoted(label)} has one row: it can be learned from, but not judged"
        for label, count in sorted(counts.items())
        if count == 1
    ]


def check_label_sets(examples: Sequence[Example], column: str) -> None:
    """Of rows with several labels, or a tag for each token.

    Raises:
        DataProblemError: [data/one-class] when every text has the same labels, or every token the same tag.
    """
    tags = column == "tags"
    found: set[tuple[str, ...]] = {
        answer for e in examples for answer in ([(tag,) for tag in e.row[column]] if tags else [tuple(e.row[column])])
    }
    if len(found) != 1:
        return
    named = ", ".join(map(_quoted, next(iter(found))))
    said = f"the {'tag' if tags else 'labels'} {named}" if named else "no label"
    raise DataProblemError(
        "data/one-class",
        f"all {'tokens' if tags else 'texts'} of {len(examples):,} rows have {said}: there is nothing to tell apart",
        where=str(examples[0].origin),
        hint=f"check `data.columns`: another column may hold the {column}",
    )


def check_bad_rows(problems: Sequence[Problem], row_count: int, max_bad_ratio: float) -> None:
    """Stops a run whose files are mostly something else than what we read them as.

    Args:
        problems: the refused rows.
        row_count: rows in all, refused ones included.
        max_bad_ratio: share of refused rows that is tolerated, 0..1; under 20 rows one row is, whatever the share.

    Raises:
        DataProblemError: [data/too-many-bad-rows].
    """
    tolerated = 1 if row_count < _SMALL else math.floor(max_bad_ratio * row_count)
    if len(problems) <= tolerated:
        return
    reasons = Counter(problem.code for problem in problems)
    raise DataProblemError(
        "data/too-many-bad-rows",
        f"{len(problems):,} of {row_count:,} rows cannot be used, {tolerated:,} are tolerated",
        where=str(problems[0].origin),
        details=[
            *(f"{count:,} rows: {code}" for code, count in reasons.most_common()),
            *(f"{problem.origin}: {problem.reason}" for problem in problems[:_SHOWN]),
        ],
        hint="repair the rows, or tolerate more of them: "
        f"`data: {{max_bad_ratio: {math.ceil(100 * len(problems) / row_count) / 100}}}`",
    )


def _quoted(label: str) -> str:
    return json.dumps(excerpt(label), ensure_ascii=False)
