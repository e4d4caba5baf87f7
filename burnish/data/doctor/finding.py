"""What the doctor says, and the rows as it sees them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from burnish.data.clean import LABEL
from burnish.data.interactions import item_of
from burnish.data.near_duplicates import near_duplicate_clusters
from burnish.data.near_rows import near_row_clusters
from burnish.types import Example, Origin, Row

Array = np.ndarray[Any, Any]
Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
PLACES = 10_000  # of each finding, in the JSON output

INPUT, ANSWER, REJECTED, SYSTEM, CELL = "input", "answer", "rejected", "system", "cell"
ROLES = (INPUT, ANSWER, REJECTED, SYSTEM, CELL)
_ROLE_OF_COLUMN = {"completion": ANSWER, "target": ANSWER, "chosen": ANSWER, "rejected": REJECTED, "system": SYSTEM}
_ROLE_OF_SPEAKER = {"assistant": ANSWER, "system": SYSTEM, "developer": SYSTEM}
_NO_TEXT = {LABEL, "labels", "score", "tags", "tools", "weights", "origin", "user", "item", "time"}
_NO_TEXT |= {"image", "sha256", "dhash", "audio"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of problem, with where it is and what to do.

    Attributes:
        code: "data/near-duplicate".
        severity: error: training on it teaches something wrong; warning: somebody should look; info: good to know.
        count: rows concerned.
        share: of all rows, 0..1.
        what: one sentence.
        fix: what to do, or the line to write in the recipe.
        places: the rows, in the order of the files; the first PLACES of them.
        details: lines that say more: pairs, counts per class, examples.
    """

    code: str
    severity: Severity
    count: int
    share: float
    what: str
    fix: str
    places: tuple[Origin, ...] = ()
    details: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "share": self.share,
            "what": self.what,
            "fix": self.fix,
            "places": [str(place) for place in self.places],
            "details": list(self.details),
        }


def by_importance(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then what is good to know; within each the most rows first."""
    return sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), -finding.count, finding.code))


def texts_of(row: Row) -> list[tuple[str, str]]:
    """The texts of a row in canonical columns, whatever its format, each with its role.

    The role is "input" (what the model is given), "answer" (what it learns to say), "rejected" (what it learns not to
    say), "system" (instructions repeated in many rows) or "cell" (of a table). Labels, scores and tags are no texts.

    >>> texts_of({"prompt": "2 + 2?", "chosen": "4", "rejected": "5"})
    [('input', '2 + 2?'), ('answer', '4'), ('rejected', '5')]
    """
    if is_table(row):
        return [(CELL, value) for value in row["features"].values() if isinstance(value, str)]
    if "user" in row and "item" in row:  # choices of one thing are alike and do not say the same
        return [(CELL, item_of(row))]
    found: list[tuple[str, str]] = []
    for column, value in row.items():
        if column not in _NO_TEXT:
            found += _texts_of_value(column, value)
    return found


def is_table(row: Row) -> bool:
    """Whether a row is one of a table: named features, and a target to predict from them."""
    return isinstance(row.get("features"), Mapping)


def _texts_of_value(column: str, value: object) -> list[tuple[str, str]]:
    role = _ROLE_OF_COLUMN.get(column, INPUT)
    if isinstance(value, str):
        return [(role, value)]
    if not isinstance(value, list | tuple):
        return []
    if column == "tokens":
        return [(role, " ".join(map(str, value)))]
    found = []
    for item in value:
        if isinstance(item, Mapping):
            spoken = _ROLE_OF_SPEAKER.get(str(item.get("role")), INPUT) if column == "messages" else role
            found.append((spoken, said(item)))
        elif isinstance(item, str):
            found.append((role, item))
    return found


def said(message: Mapping[str, Any]) -> str:
    """What a chat message says: its text, its text parts, and the tools it calls."""
    content = message.get("content")
    parts = [content] if isinstance(content, str) else []
    if isinstance(content, list):
        parts = [str(part.get("text", "")) for part in content if isinstance(part, Mapping)]
    if message.get("tool_calls"):
        parts.append(json.dumps(message["tool_calls"], ensure_ascii=False))
    return "\n".join(parts)


@dataclass(frozen=True)
class Subject:
    """The rows under examination and their texts, side by side: arrays where there may be millions.

    Attributes:
        examples: N rows.
        texts: T texts of all rows, row after row.
        rows: (T,) the row of each text.
        roles: (T,) its place in ROLES.
    """

    examples: Sequence[Example]
    texts: list[str]
    rows: Array
    roles: Array

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Subject:
        texts: list[str] = []
        rows: list[int] = []
        roles: list[int] = []
        number = {role: index for index, role in enumerate(ROLES)}
        for index, example in enumerate(examples):
            for role, text in texts_of(example.row):
                texts.append(text)
                rows.append(index)
                roles.append(number[role])
        return cls(examples, texts, np.array(rows, np.int32), np.array(roles, np.uint8))

    def finding(
        self,
        code: str,
        severity: Severity,
        rows: Iterable[int],
        what: str,
        fix: str,
        *,
        details: Iterable[str] = (),
    ) -> Finding:
        """A finding about some of the rows; places and share are filled in."""
        found = sorted(set(map(int, rows)))
        return Finding(
            code=code,
            severity=severity,
            count=len(found),
            share=len(found) / max(1, len(self.examples)),
            what=what,
            fix=fix,
            places=tuple(self.examples[row].origin for row in found[:PLACES]),
            details=tuple(details),
        )

    def place(self, row: int) -> str:
        return str(self.examples[int(row)].origin)

    def of_role(self, *roles: str) -> Array:
        """(K,) places in `texts` of the texts with one of the roles."""
        return np.flatnonzero(np.isin(self.roles, [ROLES.index(role) for role in roles]))

    def joined(self, *roles: str) -> list[str]:
        """One text per row: its texts of these roles, line after line; empty where it has none."""
        parts: list[str] = [""] * len(self.examples)
        for index in self.of_role(*roles).tolist():
            row = self.rows[index]
            parts[row] = f"{parts[row]}\n{self.texts[index]}" if parts[row] else self.texts[index]
        return parts

    @cached_property
    def inputs(self) -> list[str]:
        """What the model is given, per row."""
        return self.joined(INPUT)

    @cached_property
    def contents(self) -> list[str]:
        """What the model is given and learns to say, per row."""
        return self.joined(INPUT, ANSWER) if ANSWER in self.used_roles else self.inputs

    @cached_property
    def used_roles(self) -> set[str]:
        return {ROLES[number] for number in np.unique(self.roles)}

    @cached_property
    def clusters(self) -> Array:
        """(N,) near-duplicate cluster of each row's content; rows without content are alone."""
        if self.shows_images:
            return near_row_clusters([example.row for example in self.examples])
        clusters = near_duplicate_clusters(self.contents)
        empty = np.array([not content.strip() for content in self.contents], bool)
        clusters[empty] = np.flatnonzero(empty)
        return clusters

    @property
    def shows_images(self) -> bool:
        return bool(self.examples) and "dhash" in self.examples[0].row

    @cached_property
    def labels(self) -> list[str] | None:
        """The label of each row, None when rows have none."""
        if not self.examples or LABEL not in self.examples[0].row:
            return None
        return [str(example.row.get(LABEL, "")) for example in self.examples]
