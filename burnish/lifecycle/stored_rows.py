"""A run's rows put back as files from the data version it kept, when its data files are gone or have changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.data.options import DataOptions
from burnish.data.versions import Version, exported_row, find_version, rows_of
from burnish.errors import BurnishError, RunError
from burnish.lifecycle.datasets import data_store
from burnish.lifecycle.own import Own
from burnish.lifecycle.train import read_rows
from burnish.recipe.schema import Recipe
from burnish.storage.durable import make_folder, write_text
from burnish.storage.run_folder import RunFolder
from burnish.types import Example, Origin

AS_READ: dict[str, Any] = {  # options that were applied before the rows were kept
    "format": None,
    "header": None,
    "encoding": "utf-8",
    "label_map": {},
    "merge_label_variants": False,
}


def with_stored_rows(run: RunFolder, recipe: Recipe, folder: Path, own: Own) -> Recipe:
    """The recipe reading the stored rows instead, each in a file of its old name and on its old line.

    Args:
        run: the one that kept them.
        folder: a new one for the files.

    Raises:
        RunError: [reproduce/data-gone] when the version is gone, or gives other parts than the run had.
    """
    manifest = run.manifest()
    version = str(manifest["data"].get("version"))
    try:
        stored = find_version(version, data_store())
        rows = _by_file(stored, manifest["data"]["files"], _places(run))
        changed = _reading(recipe, rows, manifest["data"]["files"], folder)
        _, _, data = read_rows(changed, own)
    except BurnishError as error:
        raise data_gone(manifest, f"its stored version {version[:12]} cannot be read: {error.message}") from error
    if data.split_fingerprint != manifest["data"]["split_fingerprint"]:
        raise data_gone(manifest, f"its stored version {version[:12]} does not give the same training and test rows")
    return changed


def data_gone(manifest: Mapping[str, Any], reason: str) -> RunError:
    return RunError(
        "reproduce/data-gone",
        f"the data of this run is not as it was, and {reason}",
        where=", ".join(manifest["data"]["files"]),
        hint="put the old files back; `burnish datasets list` shows the versions that are kept",
    )


def _places(run: RunFolder) -> list[Origin] | None:
    """Where the run's rows stood, in its version's order; None where they stood as the version says."""
    if not run.places.is_file():
        return None
    found = run.content(run.places)
    return [Origin(found["files"][file], line) for file, line in found["rows"]]


def _by_file(version: Version, files: Mapping[str, Any], places: Sequence[Origin] | None) -> dict[str, list[Example]]:
    """The rows of each file of a run. A version was stored once, perhaps by another run from copies of its files."""
    rows: Iterable[Example] = rows_of(version)
    if places is not None:
        rows = (replace(row, origin=place) for row, place in zip(rows, places, strict=True))
    by_content = {str(facts.get("sha256")): name for name, facts in files.items()}
    stored = {name: by_content.get(str(facts.get("sha256"))) for name, facts in version.manifest["files"].items()}
    only = next(iter(files)) if len(files) == 1 else None
    found: dict[str, list[Example]] = {name: [] for name in files}
    for row in rows:
        name = row.origin.file if row.origin.file in files else stored.get(row.origin.file) or only
        if name is None:
            raise RunError("reproduce/data-gone", f"nothing says which file the rows of {row.origin.file} were in")
        found[name].append(row)
    return found


def _reading(recipe: Recipe, rows: Mapping[str, Sequence[Example]], files: Mapping[str, Any], folder: Path) -> Recipe:
    """Writes the rows of each file and names them in the recipe."""
    make_folder(folder)
    written = {}
    for number, name in enumerate(files):
        written[name] = str(folder / f"{number}-{Path(name).stem}.jsonl")
        write_text(Path(written[name]), _on_their_lines(rows[name]))
    options = recipe.data
    if not set(files) == {*options.train_files, *options.validation_files, *options.test_files}:
        raise RunError("reproduce/data-gone", "the recipe names other files than the run read")
    canonical = {column: column for column in options.columns}
    clean = options.clean.model_copy(update={"relabel": None})
    parts = {part: _renamed(getattr(options, part), written) for part in ("train", "validation", "test")}
    data: DataOptions = options.model_copy(update={**AS_READ, "columns": canonical, "clean": clean, **parts})
    return recipe.model_copy(update={"data": data})


def _renamed(named: Any, written: Mapping[str, str]) -> Any:
    if named is None:
        return None
    return written[named] if isinstance(named, str) else tuple(written[name] for name in named)


def _on_their_lines(rows: Sequence[Example]) -> str:
    """JSON Lines with blank lines between, so that a row is found where it was."""
    lines: list[str] = []
    for row in sorted(rows, key=lambda row: row.origin.line):
        lines += [""] * (row.origin.line - 1 - len(lines))
        lines.append(json.dumps(exported_row(row), ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)
