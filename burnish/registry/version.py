"""What a version is: its content, whose sha256 is its id, and the columns that it is found by."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import RowMapping

from burnish.errors import DamagedStoreError, UsageError, excerpt
from burnish.storage.durable import MANIFEST
from burnish.storage.fingerprint import canonical_json, canonical_sha256, file_sha256

Kind = Literal["dataset", "base", "run", "checkpoint", "model"]
KINDS: Sequence[Kind] = ("dataset", "base", "run", "checkpoint", "model")
COLUMNS = ("task", "method", "base", "status", "answer", "metric", "value")  # to search by
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
SHOWN = 12  # digits of an id that people see


@dataclass(frozen=True, slots=True)
class Version:
    """One version.

    Attributes:
        id: sha256 of its content, 64 hex digits.
        kind: what it is.
        name: of the model, data set, base or run.
        number: 1, 2, 3... among the models of a name; None for other kinds.
        created: when it was stored, ISO 8601, UTC.
        size_bytes: of its files.
        place: the folder it was made from, which may be gone.
        files: name -> sha256.
        parents: role -> id of the version it came from: "data", "base", "run", "parent".
        facts: what else is known of it.
        search: task, method, base, status, answer, metric, value; None where they do not apply.
        aliases: that mean it.
    """

    id: str
    kind: Kind
    name: str
    number: int | None
    created: str
    size_bytes: int
    place: str | None
    files: Mapping[str, str]
    parents: Mapping[str, str]
    facts: Mapping[str, Any]
    search: Mapping[str, Any]
    aliases: Sequence[str] = ()

    @property
    def short_id(self) -> str:
        return self.id[:SHOWN]

    @property
    def label(self) -> str:
        """What a person types: NAME:NUMBER of a model, else the beginning of its id."""
        return f"{self.name}:{self.number}" if self.number is not None else self.short_id

    def as_dict(self) -> dict[str, Any]:
        names = ("id", "kind", "name", "number", "label", "created", "size_bytes", "place")
        shown = {name: getattr(self, name) for name in names}
        return {**shown, **self.search, "aliases": list(self.aliases), "parents": dict(self.parents)}


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What is to be stored.

    Attributes:
        files: name inside the version -> where it is now.
        parents: role -> id; each must be there.
        facts: JSON; part of the id.
        search: the columns to find it by; not part of the id.
        place: the folder it is made from.
    """

    kind: Kind
    name: str
    files: Mapping[str, Path] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    place: str | None = None

    def content(self, files: Mapping[str, str]) -> str:
        """What the id is the sha256 of, given the sha256 of each file."""
        parts = {"files": dict(files), "parents": dict(self.parents), "facts": dict(self.facts)}
        return canonical_json({"kind": self.kind, "name": self.name, **parts})


def version_of(row: RowMapping, aliases: Sequence[str] = ()) -> Version:
    """The version that a row of the database stands for.

    Raises:
        DamagedStoreError: [storage/damaged] when its content is not what its id promises.
    """
    try:
        content: dict[str, Any] = json.loads(row["content"])
        if canonical_sha256(content) != row["id"] or (content["kind"], content["name"]) != (row["kind"], row["name"]):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged(f"the entry of version {str(row['id'])[:SHOWN]} ({row['name']}) was changed") from None
    return Version(
        id=row["id"],
        kind=content["kind"],
        name=content["name"],
        number=row["number"],
        created=row["created"],
        size_bytes=row["size_bytes"],
        place=row["place"],
        files=content["files"],
        parents=content["parents"],
        facts=content["facts"],
        search={name: row[name] for name in COLUMNS},
        aliases=tuple(aliases),
    )


def damage_of_version(folder: Path, version: Version) -> str | None:
    """What differs between the stored files of a version and what it promises; None when every byte is there."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name, sha256 in version.files.items():
        if name not in found:
            return f"{name} is missing"
        if file_sha256(found[name]) != sha256:
            return f"{name} differs from its sha256"
    added = sorted(found.keys() - version.files.keys() - {MANIFEST})
    if added:
        return f"{added[0]} was added"
    promised = {name: {"sha256": sha256, "bytes": found[name].stat().st_size} for name, sha256 in version.files.items()}
    return None if _manifest(folder) == promised else f"{MANIFEST} was changed"


def listed(folder: Path) -> dict[str, str]:
    """File -> sha256, as a stored folder lists them."""
    return {name: str(entry["sha256"]) for name, entry in (_manifest(folder) or {}).items()}


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content


def damaged(reason: str, where: str = "registry.db") -> DamagedStoreError:
    hint = "restore it from a copy made by `burnish backup`; `burnish verify` lists everything that is damaged"
    return DamagedStoreError("storage/damaged", reason, where=where, hint=hint)


def require_name(name: str) -> None:
    """Raises UsageError [registry/bad-name] for what cannot name a model."""
    if not NAME.fullmatch(name):
        raise UsageError(
            "registry/bad-name",
            f'"{excerpt(name)}" cannot be a name',
            where="--name",
            hint="letters, digits, dots, hyphens and underscores, 128 at most",
        )


def require_alias(alias: str) -> None:
    """Raises UsageError [registry/bad-name] for what cannot be an alias."""
    if not ALIAS.fullmatch(alias):
        raise UsageError(
            "registry/bad-name",
            f'"{excerpt(alias)}" cannot be an alias',
            where="--to",
            hint="small letters, digits, hyphens and underscores, beginning with a letter, e.g. champion",
        )
