"""The run folder: the only thing that passes between stages, laid out as DESIGN says."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import DamagedStoreError, RunError
from burnish.storage import durable

FORMAT = 1  # of the run folder; a newer one is refused by older code


class RunFolder:
    """Paths, small files and logs of one run.

    Writes go through `storage.durable`; each small file is replaced whole, logs are appended to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.manifest_file = path / "manifest.json"
        self.events = path / "events.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.problems = path / "problems.jsonl"
        self.places = path / "places.json"
        self.checkpoints = path / "checkpoints"
        self.final = path / "final"
        self.evaluation = path / "evaluation.json"
        self.predictions = path / "predictions.jsonl"
        self.pictures = path / "pictures.json"
        self.choices = path / "choices.jsonl"
        self.pairwise = path / "pairwise.json"
        self.samples = path / "samples.jsonl"
        self.reference = path / "reference"
        self.exports = path / "exports"
        self.report = path / "report.html"
        self.card = path / "card.md"
        self.request = path / ".request"

    @property
    def id(self) -> str:
        return str(self.manifest().get("id", self.path.name))

    def manifest(self) -> dict[str, Any]:
        """The manifest as it is on disk; empty when the run has none yet.

        Raises:
            DamagedStoreError: [storage/damaged] when it is not JSON.
            RunError: [run/newer-format] when a later burnish wrote it.
        """
        manifest = self.content(self.manifest_file) if self.manifest_file.exists() else {}
        if manifest.get("format", FORMAT) != FORMAT:
            raise RunError(
                "run/newer-format",
                f"this run has format {manifest['format']}, this burnish reads format {FORMAT}",
                where=str(self.path),
                hint="use the burnish that made it, or a newer one",
            )
        return manifest

    def content(self, path: Path) -> dict[str, Any]:
        """The JSON object in a file of this run.

        Raises:
            DamagedStoreError: [storage/damaged] when it is none.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not a JSON object")
        except (OSError, ValueError, RecursionError) as error:
            reason = f"{path.name} is unreadable: {error}"
            raise DamagedStoreError("storage/damaged", reason, where=str(path)) from error
        return content

    def begin_manifest(self, **entries: Any) -> None:
        """Writes a new manifest, without anything an earlier attempt left."""
        durable.write_json(self.manifest_file, {"format": FORMAT, **entries})

    def update_manifest(self, **entries: Any) -> None:
        self.begin_manifest(**{**self.manifest(), "format": FORMAT, **entries})

    def event(self, name: str, **details: Any) -> None:
        """Appends what happened, with the time in seconds since the epoch."""
        durable.append_lines(self.events, [{"time": round(time.time(), 3), "event": name, **details}])

    def ask(self, what: str) -> None:
        """Asks whoever works on this run to "pause" or "cancel" at its next step."""
        durable.write_text(self.request, what)

    def asked(self) -> str | None:
        """What another process asked for, if anything."""
        try:
            return self.request.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def clear_request(self) -> None:
        self.request.unlink(missing_ok=True)

    def write_rows(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replaces a JSON Lines file of this run."""
        durable.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def rows(self, path: Path) -> list[dict[str, Any]]:
        """The objects of a JSON Lines file of this run; a last line cut off by a crash is left out."""
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]
