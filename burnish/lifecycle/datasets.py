"""`burnish datasets` and `burnish forget`: the data versions, and the runs that learned from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from burnish.data.disk_rows import with_rows_on_disk
from burnish.data.prepare import PreparedData
from burnish.data.versions import (
    Version,
    contents_of,
    damaged_versions,
    difference,
    exported_row,
    find_version,
    forget,
    list_versions,
    matches,
    other_places,
    remove_leftovers,
    rows_of,
    store_version,
)
from burnish.errors import UsageError, nearest
from burnish.recipe.schema import Recipe
from burnish.registry.runs import list_runs
from burnish.settings import settings
from burnish.storage.durable import write_json, write_text
from burnish.storage.fingerprint import canonical_json
from burnish.storage.run_folder import RunFolder

EXAMPLES = 20  # rows of each kind that a difference shows


def data_store() -> Path:
    """The folder of all data versions."""
    return settings().expanded_home() / "datasets"


def keep_version(data: PreparedData, recipe: Recipe, folder: RunFolder) -> tuple[str, PreparedData]:
    """Stores the rows of a run as a version, unless they are stored already.

    Its parent is the newest earlier version of files with the same names. Where other files gave the same rows before,
    the run keeps the places of its own.

    Returns:
        The version's id, and the data, whose rows are read from the version from here on where they are many.
    """
    known = folder.manifest().get("data", {}).get("version")
    store = data_store()
    if known is not None and (store / known).is_dir():
        return str(known), with_rows_on_disk(data, store / known)
    names = sorted(Path(name).name for name in data.files)
    same_files = (v for v in list_versions(store) if sorted(Path(n).name for n in v.manifest["files"]) == names)
    parent = next(same_files, None)
    repairs: dict[str, int] = {}
    for problem in data.problems:
        if problem.action != "kept":
            key = f"{problem.code} {problem.action}"
            repairs[key] = repairs.get(key, 0) + 1
    contents = contents_of(example for examples in data.found.values() for example in examples)
    version = store_version(
        store,
        contents,
        name=Path(recipe.data.train_files[0]).stem,
        files={name: dict(facts) for name, facts in data.files.items()},
        repairs={"clean": recipe.data.clean.model_dump(mode="json"), "rows": repairs},
        parents=[parent.id] if parent else [],
    )
    places = other_places(version, contents, data.files)
    if places is not None:
        files = sorted({each.file for each in places})
        number = {name: place for place, name in enumerate(files)}
        write_json(folder.places, {"files": files, "rows": [[number[each.file], each.line] for each in places]})
    return version.id, with_rows_on_disk(data, version.folder, contents)


def summaries() -> list[dict[str, Any]]:
    """One line per version, newest first."""
    runs = runs_by_version()
    return [
        {
            "id": version.id,
            "name": version.manifest.get("name"),
            "created": version.manifest.get("created"),
            "rows": version.manifest.get("rows"),
            "labels": len(version.manifest.get("labels", {})),
            "runs": [run["id"] for run in runs.get(version.id, [])],
            "forgotten": version.forgotten,
        }
        for version in list_versions(data_store())
    ]


def damaged() -> list[str]:
    """Ids of versions that cannot be read."""
    return damaged_versions(data_store())


def describe(name: str) -> dict[str, Any]:
    """The manifest of a version and the runs that learned from it."""
    version = find_version(name, data_store())
    return {**version.manifest, "folder": str(version.folder), "runs": runs_by_version().get(version.id, [])}


def compare(before: str, after: str) -> dict[str, Any]:
    """How a version differs from another: counts, and the first rows of each kind."""
    first, second = (find_version(name, data_store()) for name in (before, after))
    found = difference(first, second)
    return {
        "before": first.id,
        "after": second.id,
        "rows": [first.manifest["rows"], second.manifest["rows"]],
        "counts": {"added": len(found.added), "removed": len(found.removed), "relabelled": len(found.relabelled)},
        "added": [exported_row(example) for example in found.added[:EXAMPLES]],
        "removed": [exported_row(example) for example in found.removed[:EXAMPLES]],
        "relabelled": [
            {"row": exported_row(example), "before": old, "after": new}
            for example, old, new in found.relabelled[:EXAMPLES]
        ],
    }


def export(name: str) -> Iterator[str]:
    """The rows of a version as lines of JSON, which `burnish train` reads again."""
    for example in rows_of(find_version(name, data_store())):
        yield canonical_json(exported_row(example))


def export_to(name: str, output: Path) -> int:
    """Writes the rows of a version to a new JSON Lines file; gives their number.

    Raises:
        UsageError: [data/file-exists].
    """
    if output.exists():
        raise UsageError("data/file-exists", "this file exists already", where=str(output), hint="name a new one")
    lines = list(export(name))
    write_text(output, "".join(f"{line}\n" for line in lines))
    return len(lines)


def runs_by_version() -> dict[str, list[dict[str, Any]]]:
    """Version -> the runs that learned from it, as {"id", "folder", "status"}."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in list_runs(settings().runs):
        version = RunFolder(run.folder).manifest().get("data", {}).get("version")
        if version:
            found.setdefault(version, []).append({"id": run.id, "folder": str(run.folder), "status": run.status})
    return found


def forget_rows(where: str, *, yes: bool) -> dict[str, Any]:
    """Removes the rows with a value in a column from every data version.

    Args:
        where: COLUMN=VALUE, as text.
        yes: remove them; otherwise only count.

    Returns:
        {"column", "done", "versions": [{"id", "rows", "successor", "runs"}], "not_searched": ids of versions without
        the column, and of damaged ones}.

    Raises:
        UsageError: [data/bad-condition], [data/no-such-column].
    """
    column, separator, value = where.partition("=")
    if not separator or not column.strip() or not value.strip():
        raise UsageError(
            "data/bad-condition", "a condition is COLUMN=VALUE", where="--where", hint="e.g. --where user_id=4711"
        )
    column, store = column.strip(), data_store()
    versions = [version for version in list_versions(store) if version.forgotten is None]
    searched = [version for version in versions if column in version.manifest.get("columns", [])]
    if not searched:
        raise _no_such_column(column, versions)
    if yes:
        remove_leftovers(store)
    runs, found = runs_by_version(), []
    for version in searched:
        count = sum(matches(example, column, value) for example in rows_of(version))
        if count:
            successor = forget(version, column, value) if yes else None
            entry = {"id": version.id, "rows": count, "successor": successor and successor.id}
            found.append({**entry, "runs": runs.get(version.id, [])})
    others = [version.id for version in versions if version not in searched] + damaged_versions(store)
    return {"column": column, "done": yes, "versions": found, "not_searched": others}


def _no_such_column(column: str, versions: list[Version]) -> UsageError:
    known = sorted({name for version in versions for name in version.manifest.get("columns", [])})
    close = nearest(column, known)
    return UsageError(
        "data/no-such-column",
        f'no data version has a column "{column}"',
        where="--where",
        known=known,
        hint=f'did you mean "{close}"?'
        if close
        else f"keep it from the next training on: data.keep_columns=[{column}]",
    )
