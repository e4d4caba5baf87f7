"""How the rows of a file are spelled, and what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from burnish.data.clean import with_extra
from burnish.data.known_names import KNOWN_NAMES
from burnish.data.look import Look
from burnish.data.records import Record, RefusedRowError
from burnish.errors import excerpt
from burnish.types import Example, Problem

INTERACTIONS = "user-item-time"  # the format of rows that say who chose what and when
IMAGES = "image-label"  # the format of rows that name an image and its class
LABELS = ",".join(sorted(KNOWN_NAMES["label"])) + ",gold label,is duplicate"  # what a class may be called

Canonical = Callable[[Mapping[str, object], Mapping[str, str]], dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFormat:
    """How the rows of a file are spelled, and what they are for.

    Attributes:
        name: of the format, e.g. "sharegpt".
        task: what the rows can teach, e.g. "chat".
        columns: canonical column -> column of the file.
        reason: one sentence for people: what was seen.
        canonical: turns a file row into canonical columns; raises RefusedRowError.
        has_label: whether the canonical columns hold a class called "label".
    """

    name: str
    task: str
    columns: Mapping[str, str]
    reason: str
    canonical: Canonical
    has_label: bool = False

    def examples(self, records: Iterable[Record | Problem], kept: Sequence[str] = ()) -> Iterator[Example | Problem]:
        """Examples with canonical columns; a row that is not what the format promises is a Problem.

        Args:
            kept: further columns of the file that the recipe names.
        """
        for record in records:
            if isinstance(record, Problem):
                yield record
                continue
            try:
                yield with_extra(self.canonical(record.values, self.columns), record, kept)
            except RefusedRowError as refused:
                shown = " | ".join(str(record.values.get(column)) for column in self.columns.values())
                yield Problem(refused.code, refused.reason, record.origin, excerpt=excerpt(shown))


def present(look: Look, **names: str) -> dict[str, str]:
    """The optional columns that are there."""
    found = {canonical: look.named(wanted) for canonical, wanted in names.items()}
    return {canonical: column for canonical, column in found.items() if column is not None}
