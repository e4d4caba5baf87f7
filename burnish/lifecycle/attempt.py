"""One attempt at a job: a run folder that only one claim writes into, and what of it is published for the next one.

    jobs/<job>/data/<file>              the job's files under names of ours
    jobs/<job>/<job>-<token>/           run folder of the claim with this token
    jobs/<job>/published/<token>-<step>/  a checkpoint with all that a later attempt needs to go on from it

A published folder is complete or absent and never changes. Its row in the database counts, not the folder: a row is
written only by the holder of the claim, so a worker that was overtaken leaves a folder behind and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.registry.files import StoredFile
from burnish.storage.durable import (
    assembled_folder,
    damage_of,
    link_file,
    link_folder,
    make_folder,
    remove_folder,
    write_json,
    write_text,
)
from burnish.storage.run_folder import RunFolder

STATE = "state.json"  # of a checkpoint


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint of an attempt.

    Attributes:
        best: step of the best checkpoint so far.
        metrics_bytes: of metrics.jsonl at that step.
    """

    step: int
    best: int
    metrics_bytes: int


def job_folder(service_folder: Path, job: str) -> Path:
    """Where everything of a job lies until it has ended."""
    return service_folder / "jobs" / job


def attempt_folder(service_folder: Path, job: str, token: int) -> RunFolder:
    """The run folder of a claim."""
    return RunFolder(job_folder(service_folder, job) / f"{job}-{token}")


def held_file(folder: Path, file: StoredFile) -> Path | None:
    """The path of a file of a job, which stays the same for all attempts on this machine; None when it is not there."""
    place = folder / "data" / file.id
    return place if place.is_file() and place.stat().st_size == file.size_bytes else None


def hold_file(folder: Path, file: StoredFile, source: Path) -> Path:
    """Keeps a file for the attempts at a job, as what `held_file` finds."""
    place = folder / "data" / file.id
    make_folder(folder / "data")
    if held_file(folder, file) is None:
        place.unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError):  # another attempt was faster
        link_file(source, place)
    return place


def saved_checkpoints(run: RunFolder) -> list[Saved]:
    """Checkpoints of an attempt as they are now, the oldest first."""
    found = []
    for path in run.checkpoints.glob("step-*"):
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:  # an old one that the trainer has just deleted
            continue
        found.append(Saved(int(state["step"]), int(state["stopping"]["best_step"]), int(state["metrics_bytes"])))
    return sorted(found, key=lambda saved: saved.step)


def publish(run: RunFolder, saved: Saved, target: Path) -> bool:
    """Makes a checkpoint a run of its own that an attempt can begin with; False when the trainer deleted it meanwhile.

    Cost: the files of the checkpoint are linked, not copied; metrics.jsonl is copied up to the step.
    """
    try:
        with assembled_folder(target) as temporary:
            (temporary / "checkpoints").mkdir()
            for step in sorted({saved.step, saved.best}):
                source = run.checkpoints / f"step-{step}"
                if step == saved.step or source.is_dir():
                    link_folder(source, temporary / "checkpoints" / source.name)
            link_file(run.recipe, temporary / run.recipe.name)
            figures = run.metrics.read_bytes()[: saved.metrics_bytes] if run.metrics.exists() else b""
            if len(figures) < saved.metrics_bytes:  # the training went back to an older checkpoint
                raise FileNotFoundError(run.metrics)
            write_text(temporary / run.metrics.name, figures.decode("utf-8"))
            write_json(temporary / run.manifest_file.name, run.manifest())
    except FileNotFoundError:
        return False
    return True


def begin_from(published: Path, run: RunFolder) -> bool:
    """Fills the folder of a new attempt with what an earlier one published; False when that is not there or damaged."""
    source = RunFolder(published)
    steps = sorted(source.checkpoints.glob("step-*"))
    if not steps or any(damage_of(step) for step in steps) or not source.manifest():
        return False
    with assembled_folder(run.path) as temporary:
        (temporary / "checkpoints").mkdir()
        for step in steps:
            link_folder(step, temporary / "checkpoints" / step.name)
        link_file(source.recipe, temporary / run.recipe.name)
        write_text(temporary / run.metrics.name, source.metrics.read_text(encoding="utf-8"))
        manifest = {**source.manifest(), "id": run.path.name, "status": "interrupted"}
        write_json(temporary / run.manifest_file.name, manifest)
    return True


def forget(published: Path) -> None:
    """Deletes what no row of the database names any more."""
    remove_folder(published)


@dataclass(slots=True)
class Figures:
    """The figures of a run, step by step, as its metrics.jsonl grows.

    A step's figures are whole when those of a later step are there, or the run has ended: then they are given, once.
    """

    run: RunFolder
    offset: int = 0  # bytes of metrics.jsonl that were read
    newest: bytes = b""  # the last line of them
    waiting: dict[str, Any] = field(default_factory=dict)  # of the newest step, which may still be evaluated

    def news(self, *, saved: int = 0, last: bool = False) -> Iterator[dict[str, Any]]:
        """Figures of steps that are whole, in the words of the protocol.

        Args:
            saved: a step whose checkpoint is there: all about it was written before.
            last: nothing more will be written.
        """
        for line in self._lines():
            if self.waiting and self.waiting["step"] != line["step"]:
                yield self.waiting
                self.waiting = {}
            self.waiting = {**self.waiting, **figures_of(line)}
        if self.waiting and (last or self.waiting["step"] <= saved):
            yield self.waiting
            self.waiting = {}

    def _lines(self) -> list[dict[str, Any]]:
        """Whole lines that were not read before; from the beginning when the run went back to an older checkpoint."""
        if not self.run.metrics.exists():
            return []
        with self.run.metrics.open("rb") as stream:
            stream.seek(self.offset - len(self.newest))
            read = stream.read()
            if not read.startswith(self.newest):  # cut, and perhaps longer again by now
                self.offset, self.newest, self.waiting = 0, b"", {}
                stream.seek(0)
                read = stream.read()
        whole = read[len(self.newest) : read.rfind(b"\n") + 1]
        lines = whole.splitlines(keepends=True)
        self.offset += len(whole)
        self.newest = lines[-1] if lines else self.newest
        return [json.loads(line) for line in lines]


def figures_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics.jsonl in the words of the protocol.

    >>> figures_of({"step": 4, "epoch": 1.0, "validation": {"loss": 0.5, "token-accuracy": 0.75}, "best": True})
    {'step': 4, 'epoch': 1.0, 'valid_loss': 0.5, 'valid_mean_token_accuracy': 0.75, 'full_valid_loss': 0.5, \
'full_valid_mean_token_accuracy': 0.75}
    """
    found: dict[str, Any] = {"step": line["step"], "epoch": line["epoch"]}
    if "validation" in line:
        values = line["validation"]
        named = {_valid(name): value for name, value in values.items()}
        # every evaluation is one of all validation rows
        return found | named | {f"full_{name}": value for name, value in named.items()}
    found |= {"train_loss": line["loss"]} if "loss" in line else {}
    names = [name for name in line if name not in (*found, "loss")]
    return found | {"grad_norm" if name == "gradient_norm" else name.replace("-", "_"): line[name] for name in names}


def told(figures: Mapping[str, Any], total_steps: int) -> str:
    """The sentence of an event that tells figures.

    >>> told({"step": 4, "train_loss": 0.25, "valid_loss": 0.5, "full_valid_loss": 0.5}, 8)
    'Step 4/8: training loss=0.25, validation loss=0.50, full validation loss=0.50'
    """
    words = {"train_loss": "training loss", "valid_loss": "validation loss", "full_valid_loss": "full validation loss"}
    shown = [f"{word}={figures[name]:.2f}" for name, word in words.items() if name in figures]
    return f"Step {figures['step']}/{total_steps}: {', '.join(shown)}"


def _valid(name: str) -> str:
    return "valid_mean_token_accuracy" if name == "token-accuracy" else f"valid_{name.replace('-', '_')}"
