"""A run shown in other programs while it goes on: its folder is followed, and what is new in it handed to sinks.

A sink only ever reads what the run wrote down anyway. One that fails is named once and left out; the run goes on.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from burnish.errors import UsageError
from burnish.registry.options import TrackingOptions
from burnish.storage.durable import write_json
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress

STATE = "tracking.json"  # how many lines were handed on, and under which names the sinks know the run
NEEDS = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}  # sink -> module
State = dict[str, Any]


class Sink(Protocol):
    """Another program that a run is shown in."""

    def begin(self, folder: RunFolder, settings: Mapping[str, Any], state: State) -> None:
        """Opens the run there, or opens it again.

        Args:
            settings: the fields of the recipe, "training.seed" -> value.
            state: what this sink kept of the run before; what it puts there is kept.
        """
        ...

    def line(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes the figures of a logged step, such as "loss" and "validation/accuracy"."""
        ...

    def end(self, folder: RunFolder, results: Mapping[str, float]) -> None:
        """Takes the results on the test rows, empty where there are none, and closes the run."""
        ...


def require_installed(options: TrackingOptions) -> None:
    """Raises UsageError [tracking/not-installed] for a sink whose package is missing."""
    for name in named(options):
        if importlib.util.find_spec(NEEDS[name]) is None:
            raise UsageError(
                "tracking/not-installed",
                f"the package {NEEDS[name]} is not installed",
                where=f"tracking.{name}",
                hint=f"pip install 'burnish[{name}]', or leave it out",
            )


def named(options: TrackingOptions) -> list[str]:
    """The sinks that a recipe names."""
    return [name for name in NEEDS if getattr(options, name)]


class Tracker:
    """Tells sinks what a run's folder says, and passes on what the run tells its Progress.

    Args:
        sinks: by name.
        progress: told of a sink that fails.
    """

    def __init__(self, folder: RunFolder, sinks: Mapping[str, Sink], progress: Progress) -> None:
        self.folder, self.sinks, self.progress = folder, dict(sinks), progress
        path = folder.path / STATE
        self.state: State = folder.content(path) if path.is_file() else {"lines": 0}
        self.seen_bytes = 0

    def begin(self, settings: Mapping[str, Any]) -> None:
        for name in list(self.sinks):
            kept = self.state.setdefault(name, {})
            self._ask(name, "begin", self.folder, settings, kept)
        self._keep()

    def stage(self, name: str) -> None:
        self.progress.stage(name)

    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        self.progress.advance(done, total, figures)
        self._catch_up()

    def note(self, text: str) -> None:
        self.progress.note(text)
        self._catch_up()

    def warn(self, text: str) -> None:
        self.progress.warn(text)

    def end(self) -> None:
        """Hands on what is left, and the results."""
        self._catch_up()
        results = results_of(self.folder)
        for name in list(self.sinks):
            self._ask(name, "end", self.folder, results)
        self._keep()

    def _catch_up(self) -> None:
        """Hands on the lines of metrics.jsonl that are new. After a resume the same steps come again: not twice."""
        if not self.sinks or not self.folder.metrics.exists():
            return
        size = self.folder.metrics.stat().st_size
        if size == self.seen_bytes:
            return
        self.seen_bytes = size
        lines = self.folder.rows(self.folder.metrics)
        for line in lines[self.state["lines"] :]:
            step, figures = int(line["step"]), dict(flat_figures(line))
            for name in list(self.sinks):
                self._ask(name, "line", step, figures)
        if len(lines) > self.state["lines"]:
            self.state["lines"] = len(lines)
            self._keep()

    def _keep(self) -> None:
        write_json(self.folder.path / STATE, self.state)

    def _ask(self, name: str, what: Literal["begin", "line", "end"], *arguments: Any) -> None:
        """Lets a sink do something; one that cannot is left out from here on."""
        try:
            getattr(self.sinks[name], what)(*arguments)
        except Exception as error:  # whatever another program raises must not end a training
            del self.sinks[name]
            self.progress.warn(f"tracking.{name} is left out from here on: {type(error).__name__}: {error}")


def flat_figures(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a logged line: "loss", "validation/accuracy"; without the step, which they are of."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", number) for inner, number in flat_figures(value))
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            yield name, float(value)


def results_of(folder: RunFolder) -> dict[str, float]:
    """The tuned model's figures on the test rows, "test/accuracy", with the ends of their intervals."""
    if not folder.evaluation.is_file():
        return {}
    found = {}
    for metric, entry in folder.content(folder.evaluation)["models"]["tuned"].items():
        for part, suffix in (("value", ""), ("low", "/low"), ("high", "/high")):
            if entry.get(part) is not None:
                found[f"test/{metric}{suffix}"] = float(entry[part])
    return found


def tags_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What a run is about, in words that other programs can search."""
    verdict, base = manifest.get("verdict") or {}, manifest.get("base") or {}
    found = {
        "burnish.run": manifest.get("id"),
        "burnish.status": manifest.get("status"),
        "burnish.task": manifest.get("task"),
        "burnish.method": manifest.get("method"),
        "burnish.base": Path(str(base.get("name", ""))).name,
        "burnish.base_sha256": base.get("sha256"),
        "burnish.data_version": (manifest.get("data") or {}).get("version"),
        "burnish.verdict": verdict.get("answer"),
    }
    return {name: str(value) for name, value in found.items() if value}


def as_text(value: Any, limit: int) -> str:
    """A setting as other programs show it."""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:limit]


def open_sinks(options: TrackingOptions, folder: RunFolder) -> dict[str, Sink]:
    """The sinks that a recipe names; only their packages are imported."""
    found: dict[str, Sink] = {}
    if options.tensorboard:
        from burnish.registry.sink_tensorboard import TensorBoard

        chosen = options.tensorboard
        found["tensorboard"] = TensorBoard(Path(chosen) if isinstance(chosen, str) else folder.path / "tensorboard")
    if options.wandb:
        from burnish.registry.sink_wandb import Wandb

        found["wandb"] = Wandb(options.wandb)
    if options.mlflow:
        from burnish.registry.sink_mlflow import Mlflow

        found["mlflow"] = Mlflow(options.mlflow)
    return found
