"""Data versions: the rows that runs learned from and were judged on, each set kept once under the hash of its rows.

    <store>/<sha256>/rows.jsonl      one row a line, sorted, with its place in the file it came from
                     manifest.json   where the rows came from, what was repaired, parents, statistics
                     files.json      size and sha256 of both

A version never changes. Forgetting somebody's rows makes a new version without them and leaves a tombstone: the old
manifest, without rows.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import shutil
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.repair import text_length
from burnish.data.split import labels_of
from burnish.errors import DamagedStoreError, DataProblemError, UsageError, excerpt
from burnish.storage import durable
from burnish.storage.fingerprint import canonical_json
from burnish.types import Example, Origin, Provenance

ROWS, MANIFEST = "rows.jsonl", "manifest.json"
SHOWN = 12  # digits of a version's id that people see
_ID = 64  # digits of all of it
_ATTEMPTS = 5  # to copy a version
_BATCH = 10_000  # lines written at a time


@dataclass(frozen=True, slots=True)
class Version:
    """One stored set of rows.

    Attributes:
        id: sha256 over the sorted canonical rows, 64 hex digits.
        folder: where it is stored.
        manifest: {"id", "name", "created", "rows", "columns", "labels", "origins", "lengths", "files", "repairs",
            "parents"}, and "forgotten" for a tombstone.
    """

    id: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def short_id(self) -> str:
        return self.id[:SHOWN]

    @property
    def forgotten(self) -> Mapping[str, Any] | None:
        """{"time", "column", "rows", "successor"} of a tombstone; None for a version that has its rows."""
        return self.manifest.get("forgotten")


def canonical_row(example: Example) -> str:
    """What makes a row the same in two versions: its columns, the kept ones included, and who wrote it."""
    return canonical_json({"row": example.row, "extra": example.extra, "origin": example.provenance})


@dataclass(frozen=True, slots=True)
class Contents:
    """Rows in the order of a version, and the id that they give it."""

    id: str
    rows: list[Example]


def contents_of(examples: Iterable[Example]) -> Contents:
    """Rows, given in any order, as a version holds them."""
    ordered = sorted(((canonical_row(example), example) for example in examples), key=lambda pair: pair[0])
    digest = hashlib.sha256()
    for canonical, _ in ordered:
        digest.update(canonical.encode("utf-8", "surrogatepass") + b"\n")
    return Contents(digest.hexdigest(), [example for _, example in ordered])


def store_version(store: Path, contents: Contents, **facts: Any) -> Version:
    """Keeps rows as a version; rows that are stored already are not stored again.

    Args:
        store: folder of all versions.
        contents: the rows.
        facts: for the manifest: name, files, repairs, parents.

    Raises:
        DataProblemError: [data/forgotten-rows] when exactly these rows hold some that were forgotten.
        DiskFullError: [storage/disk-full]; nothing of the attempt remains.
    """
    target = store / contents.id
    if not (target / MANIFEST).is_file():
        _publish(target, contents.rows, {"id": contents.id, "created": _now(), **facts, **_statistics(contents.rows)})
    version = _read(target)
    if version.forgotten is not None:
        raise _forgotten_rows(version.forgotten)
    return version


def other_places(version: Version, contents: Contents, files: Mapping[str, Any]) -> list[Origin] | None:
    """Where these rows stand, in the version's order, when other files with the same rows were stored first.

    A version keeps the places of its first files only: a shuffled file has the same rows and another order.

    Args:
        contents: the rows of the version.
        files: their files' name -> {"sha256", ...}.

    Returns:
        None when the version was stored from files of the same bytes, so that its places are these.
    """
    given, stored = (
        sorted(str(facts.get("sha256") or name) for name, facts in named.items())
        for named in (files, version.manifest["files"])
    )
    if given == stored:
        return None
    return [example.origin for example in contents.rows]


def _forgotten_rows(tombstone: Mapping[str, Any]) -> DataProblemError:
    successor = str(tombstone["successor"])[:SHOWN]
    return DataProblemError(
        "data/forgotten-rows",
        f"this data holds {tombstone['rows']:,} rows that were forgotten on {tombstone['time']}",
        where=f"column {excerpt(str(tombstone['column']))}",
        hint="take them out of your file too, or train on the rows that are left: "
        f"`burnish datasets export {successor} --output rows.jsonl`",
    )


def _publish(target: Path, rows: Sequence[Example], manifest: Mapping[str, Any]) -> None:
    """Writes a version; another process that stores the same rows at the same time does no harm."""
    try:
        with durable.published_folder(target) as folder:
            for start in range(0, len(rows), _BATCH):
                durable.append_lines(folder / ROWS, [_line(example) for example in rows[start : start + _BATCH]])
            durable.write_json(folder / MANIFEST, manifest)
    except OSError:
        if durable.damage_of(target) is not None:
            raise


def _line(example: Example) -> dict[str, Any]:
    place = {"file": example.origin.file, "line": example.origin.line}
    return {"row": dict(example.row), "extra": dict(example.extra), "origin": example.provenance.value, **place}


def _statistics(rows: Sequence[Example]) -> dict[str, Any]:
    """What a data card says: rows, columns, rows per label and per origin, lengths of the texts in characters."""
    labels = Counter(label for example in rows for label in labels_of(example) if label)
    lengths = [text_length(example.row) for example in rows]
    return {
        "rows": len(rows),
        "columns": sorted({column for example in rows for column in (*example.row, *example.extra)}),
        "labels": dict(sorted(labels.items())),
        "origins": dict(sorted(Counter(example.provenance.value for example in rows).items())),
        "lengths": {"median": statistics.median(lengths), "max": max(lengths)} if lengths else {},
    }


def list_versions(store: Path) -> list[Version]:
    """All versions that can be read, newest first; see `damaged_versions` for the others."""
    found = []
    for folder in _folders(store):
        with contextlib.suppress(DamagedStoreError):
            found.append(_read(folder))
    return sorted(found, key=lambda version: (str(version.manifest.get("created")), version.id), reverse=True)


def damaged_versions(store: Path) -> list[str]:
    """Ids of versions whose manifest cannot be read: one of them must not stop the work with the others."""
    damaged = []
    for folder in _folders(store):
        try:
            _read(folder)
        except DamagedStoreError:
            damaged.append(folder.name)
    return damaged


def damages(store: Path) -> list[str]:
    """One sentence for each version that is not what was stored."""
    found = ((folder, durable.damage_of(folder, (MANIFEST,))) for folder in _folders(store))
    return [f"data version {folder.name[:SHOWN]}: {damage}" for folder, damage in found if damage]


def copy_versions(store: Path, target: Path) -> int:
    """Copies every version into an empty folder; gives their number.

    Raises:
        DamagedStoreError: [storage/damaged] when one is not what was stored.
    """
    for folder in _folders(store):
        for _ in range(_ATTEMPTS):  # rows may be forgotten while they are copied
            copy = target / folder.name
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True)
            with contextlib.suppress(FileNotFoundError):
                for path in sorted(folder.iterdir()):
                    durable.copy_file(path, copy / path.name)
            if durable.damage_of(copy, (MANIFEST,)) is None:
                break
        else:
            durable.require_undamaged(folder)
    return len(_folders(store))


def _folders(store: Path) -> list[Path]:
    if not store.is_dir():
        return []
    return sorted(folder for folder in store.iterdir() if len(folder.name) == _ID and (folder / MANIFEST).is_file())


def find_version(name: str, store: Path) -> Version:
    """The version with this id, or the only one whose id begins so.

    Raises:
        UsageError: [data/version-not-found], [data/version-ambiguous].
        DamagedStoreError: [storage/damaged] when it is the only one and cannot be read.
    """
    versions = list_versions(store)
    damaged = [version for version in damaged_versions(store) if name and version.startswith(name.lower())]
    if len(damaged) == 1 and not any(version.id.startswith(name.lower()) for version in versions):
        return _read(store / damaged[0])
    matches = [version for version in versions if name and version.id.startswith(name.lower())]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(
            "data/version-ambiguous",
            f'"{name}" begins {len(matches)} data versions',
            known=[version.id for version in matches[:10]],
        )
    raise UsageError(
        "data/version-not-found",
        f'there is no data version "{name}"',
        where=str(store),
        known=[version.short_id for version in versions[:10]],
        hint="list them with `burnish datasets list`; a training makes one",
    )


def rows_of(version: Version) -> Iterator[Example]:
    """The rows of a version, in its order, with their places in the files that it was first stored from.

    Raises:
        UsageError: [data/version-forgotten] naming the version that replaced it.
        DamagedStoreError: [storage/damaged] when the bytes are not those that were written.
    """
    if version.forgotten is not None:
        successor = str(version.forgotten["successor"])
        raise UsageError(
            "data/version-forgotten",
            f"rows of this version were forgotten on {version.forgotten['time']}; it holds none any more",
            where=version.short_id,
            hint=f"its other rows are in version {successor[:SHOWN]}",
        )
    durable.require_undamaged(version.folder)
    if not (version.folder / ROWS).exists():
        return
    with (version.folder / ROWS).open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            yield from_line(line)


def from_line(line: str | bytes) -> Example:
    """The row that a line of a version's rows says."""
    entry = json.loads(line)
    return Example(entry["row"], Origin(entry["file"], entry["line"]), entry["extra"], Provenance(entry["origin"]))


@dataclass(frozen=True, slots=True)
class Difference:
    """How one version became another: rows that came, rows that went, and (row, label before, label after)."""

    added: list[Example]
    removed: list[Example]
    relabelled: list[tuple[Example, str, str]]


def difference(before: Version, after: Version) -> Difference:
    """What changed between two versions; a row whose label alone changed is relabelled, not removed and added."""
    old = {canonical_row(example): example for example in rows_of(before)}
    new = {canonical_row(example): example for example in rows_of(after)}
    removed = {_unlabelled(example): example for key, example in old.items() if key not in new}
    added, relabelled = [], []
    for key, example in new.items():
        if key in old:
            continue
        twin = removed.get(_unlabelled(example))
        if twin is not None and labels_of(twin) != labels_of(example):
            relabelled.append((example, ", ".join(labels_of(twin)), ", ".join(labels_of(example))))
            del removed[_unlabelled(example)]
        else:
            added.append(example)
    return Difference(added, list(removed.values()), relabelled)


def _unlabelled(example: Example) -> str:
    row = {column: value for column, value in example.row.items() if column not in ("label", "labels")}
    return canonical_json({"row": row, "extra": example.extra})


def exported_row(example: Example) -> dict[str, Any]:
    """A row as a JSON Lines file holds it: kept columns, canonical columns, and its origin."""
    return {**example.extra, **example.row, "origin": example.provenance.value}


def matches(example: Example, column: str, value: str) -> bool:
    """Whether a row has this value, written as text, in a canonical or a kept column."""
    cell = example.row.get(column, example.extra.get(column))
    return cell is not None and str(cell).strip() == value.strip()


def forget(version: Version, column: str, value: str) -> Version | None:
    """Replaces a version by one without the rows that have this value; None when it has none.

    The old folder becomes a tombstone that names the new version. It says which column, not which value. The new
    version is on the disk before the rows of the old one go.
    """
    kept, count = [], 0
    for example in rows_of(version):
        if matches(example, column, value):
            count += 1
        else:
            kept.append(example)
    if not count:
        return None
    facts = {key: version.manifest[key] for key in ("name", "files", "repairs") if key in version.manifest}
    successor = store_version(version.folder.parent, contents_of(kept), **facts, parents=[version.id])
    tombstone = {"time": _now(), "column": column, "rows": count, "successor": successor.id}
    with durable.published_folder(version.folder) as folder:
        durable.write_json(folder / MANIFEST, {**version.manifest, "forgotten": tombstone})
    return successor


def remove_leftovers(store: Path) -> None:
    """Deletes what a process that died left of a version: it may hold rows."""
    durable.remove_leftovers(store)


def _read(folder: Path) -> Version:
    """A stored version.

    Raises:
        DamagedStoreError: [storage/damaged] when its manifest is none.
    """
    with contextlib.suppress(OSError, ValueError, RecursionError):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and manifest.get("id") == folder.name:
            return Version(folder.name, folder, manifest)
    raise DamagedStoreError(
        "storage/damaged",
        f"{MANIFEST} of a data version is unreadable",
        where=str(folder),
        hint="restore the folder from a copy, or delete it; the next training on this data makes it anew",
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
