"""What a run folder says about its run, read once for the pages that tell of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from burnish.errors import DamagedStoreError
from burnish.evaluation.wording import ERRORS, entries, finite
from burnish.storage.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The files of a run; what is not there is empty."""

    folder: Path
    manifest: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    problems: Sequence[Mapping[str, Any]]
    predictions: Sequence[Mapping[str, Any]]
    pictures: Mapping[str, Any]  # small copies of images: of each class, and of the worst errors
    pairwise: Mapping[str, Any]  # what choices between answers say
    samples: Sequence[Mapping[str, Any]]  # answers of a language model while it was trained
    recipe: str
    use: str  # final/USE.md

    @classmethod
    def read(cls, run: Path) -> RunRecord:
        """Reads the files of a run.

        Raises:
            DamagedStoreError: [storage/damaged] naming the file that is not JSON.
        """
        folder = RunFolder(run)
        return cls(
            folder=run,
            manifest=folder.manifest(),
            evaluation=_object(folder.evaluation),
            metrics=_rows(folder, folder.metrics),
            problems=_rows(folder, folder.problems),
            predictions=_rows(folder, folder.predictions),
            pictures=_object(folder.pictures),
            pairwise=_object(folder.pairwise),
            samples=_rows(folder, folder.samples),
            recipe=_text(folder.recipe),
            use=_text(folder.final / "USE.md"),
        )

    @property
    def id(self) -> str:
        return str(self.manifest.get("id") or self.folder.name)

    @property
    def verdict(self) -> Mapping[str, Any]:
        return entries(self.evaluation.get("verdict"))

    @property
    def models(self) -> Mapping[str, Any]:
        return entries(self.evaluation.get("models"))

    @property
    def base(self) -> Mapping[str, Any]:
        return entries(self.manifest.get("base"))

    @property
    def data(self) -> Mapping[str, Any]:
        return entries(self.manifest.get("data"))

    @property
    def training(self) -> Mapping[str, Any]:
        return entries(self.manifest.get("training"))

    @property
    def environment(self) -> Mapping[str, Any]:
        return entries(self.manifest.get("environment"))

    @property
    def shows_images(self) -> bool:
        """Whether the model names what images show."""
        return bool(self.pictures)

    def arms(self) -> list[str]:
        """Names of the compared models: the tuned one first, then the best on the deciding metric first."""
        metric = str(self.verdict.get("metric", "accuracy"))

        def value(arm: str) -> float:
            return finite(entries(entries(self.models[arm]).get(metric)).get("value")) or 0.0

        sign = 1 if metric in ERRORS else -1
        return sorted(self.models, key=lambda arm: (arm != "tuned", sign * value(arm), arm))

    def place(self, row: Mapping[str, Any]) -> str:
        """`test.csv:12` of a row that names its file and line; the whole path where two files share a name."""
        path = str(row.get("file", "?"))
        names = [PurePath(name).name for name in entries(self.data.get("files"))]
        shown = PurePath(path).name if names.count(PurePath(path).name) < 2 else path
        return f"{shown}:{row.get('line', '?')}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _object(path: Path) -> Mapping[str, Any]:
    try:
        return entries(json.loads(_text(path) or "{}"))
    except ValueError as error:
        raise _damaged(path, error) from error


def _rows(folder: RunFolder, path: Path) -> list[Mapping[str, Any]]:
    try:
        return [row for row in folder.rows(path) if isinstance(row, Mapping)]
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: ValueError) -> DamagedStoreError:
    return DamagedStoreError("storage/damaged", f"{path.name} is not JSON: {error}", where=str(path))
