"""A run's rows put back as files from the data version it kept, when its data files are gone or have changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.data.options import DataOptions
from burnish.data.versions import exported_row, find_version, rows_of
from burnish.errors import BurnishError, RunError
from burnish.lifecycle.datasets import data_store
from burnish.lifecycle.own import Own
from burnish.lifecycle.train import read_rows
from burnish.recipe.schema import Recipe
from burnish.storage.durable import make_folder, write_text
from burnish.types import Example

AS_READ: dict[str, Any] = {  # options that were applied before the rows were kept
    "format": None,
    "header": None,
    "encoding": "utf-8",
    "label_map": {},
    "merge_label_variants": False,
}


def with_stored_rows(recipe: Recipe, manifest: Mapping[str, Any], folder: Path, own: Own) -> Recipe:
    """The recipe reading the stored rows instead, each in a file of its old name and on its old line.

    Args:
        manifest: of the run that kept them.
        folder: a new one for the files.

    Raises:
        RunError: [reproduce/data-gone] when the version is gone, or gives other parts than the run had.
    """
    version = str(manifest["data"].get("version"))
    try:
        rows = list(rows_of(find_version(version, data_store())))
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


def _reading(recipe: Recipe, rows: Sequence[Example], files: Mapping[str, Any], folder: Path) -> Recipe:
    """Writes the rows of each file and names them in the recipe."""
    make_folder(folder)
    written = {}
    for number, name in enumerate(files):
        written[name] = str(folder / f"{number}-{Path(name).stem}.jsonl")
        write_text(Path(written[name]), _on_their_lines([row for row in rows if row.origin.file == name]))
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
