"""Runs shown in other programs, read back with those programs' own readers; one that fails never stops a run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import UsageError
from burnish.lifecycle.run import Run
from burnish.lifecycle.track import mirrored
from burnish.lifecycle.train import train
from burnish.lifecycle.versions import store_model
from burnish.registry.options import TrackingOptions
from burnish.registry.store import open_registry
from burnish.registry.tracking import Tracker, flat_figures, require_installed
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

STEPS = ("training.epochs=2", "training.log_every_steps=4")


@pytest.fixture(scope="module")
def tracked(toy: Path, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run shown in TensorBoard and MLflow."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("tracked")
    sinks = ["tracking.tensorboard=true", f"tracking.mlflow=sqlite:///{folder / 'mlflow.db'}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of these libraries
        return train(toy, overrides=[*quick, *STEPS, *sinks], output=folder / "run")


@pytest.fixture
def client(tracked: Run) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        yield MlflowClient(f"sqlite:///{tracked.path.parent / 'mlflow.db'}")


def logged(run: Run, name: str) -> list[tuple[int, float]]:
    """(step, value) of a figure, from the run's own metrics."""
    lines = run.folder.rows(run.folder.metrics)
    return [(line["step"], figures[name]) for line in lines if name in (figures := dict(flat_figures(line)))]


def test_tensorboard_reads_every_figure_of_every_step(tracked: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    events = EventAccumulator(str(tracked.path / "tensorboard" / tracked.id))
    events.Reload()
    for name in ("loss", "learning_rate", "validation/accuracy"):
        read = [(event.step, event.value) for event in events.Scalars(name)]
        assert read == [(step, pytest.approx(value)) for step, value in logged(tracked, name)]
    result = tracked.evaluation["models"]["tuned"]["accuracy"]["value"]
    assert events.Scalars("test/accuracy")[0].value == pytest.approx(result)


def test_mlflow_reads_recipe_figures_data_and_results(tracked: Run, client: Any) -> None:
    (found,) = client.search_runs([client.get_experiment_by_name("burnish").experiment_id])
    manifest = tracked.folder.manifest()
    assert (found.info.status, found.info.run_name) == ("FINISHED", tracked.id)
    assert found.data.params["training.seed"] == "13"
    assert found.data.params["method.name"] == "full"
    assert found.data.tags["burnish.verdict"] == tracked.verdict["answer"]
    assert found.data.tags["burnish.data_version"] == manifest["data"]["version"]
    history = client.get_metric_history(found.info.run_id, "loss")
    assert sorted((each.step, each.value) for each in history) == logged(tracked, "loss")
    assert found.data.metrics["test/accuracy"] == tracked.evaluation["models"]["tuned"]["accuracy"]["value"]
    (data,) = found.inputs.dataset_inputs
    assert next(iter(manifest["data"]["files"].values()))["sha256"].startswith(data.dataset.digest)


def test_mlflow_follows_the_aliases_of_our_registry(tracked: Run, client: Any) -> None:
    registry = open_registry()
    version = store_model(registry, tracked.folder, name="mirrored")
    folder = RunFolder(registry.folder(version))
    assert mirrored(version, folder, "champion") == {"mlflow": "models:/mirrored@champion"}
    assert mirrored(version, folder, "candidate") == {"mlflow": "models:/mirrored@candidate"}
    found = client.get_model_version_by_alias("mirrored", "champion")
    assert (found.version, found.tags["burnish.version"]) in {("1", version.id), (1, version.id)}
    assert found.source == folder.final.as_uri()
    assert client.get_run(found.run_id).data.tags["burnish.run"] == tracked.id
    assert len(client.search_model_versions("name = 'mirrored'")) == 1


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(
    toy: Path, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = train(toy, overrides=[*quick, *STEPS, "tracking.wandb=tickets"], output=tmp_path / "run")
    (stored,) = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    content = stored.read_bytes()
    assert b"validation/accuracy" in content
    assert b"test/accuracy" in content
    assert json.loads((run.path / "tracking.json").read_text())["wandb"]["id"] in stored.name


class Broken:
    """A sink that fails at its second line."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def begin(self, folder: RunFolder, settings: Mapping[str, Any], state: dict[str, Any]) -> None:
        state["seen"] = True

    def line(self, step: int, figures: Mapping[str, float]) -> None:
        if len(self.steps) == 1:
            raise ConnectionError("gone")
        self.steps.append(step)

    def end(self, folder: RunFolder, results: Mapping[str, float]) -> None:
        raise AssertionError("a sink that failed is left out")


class Whole(Broken):
    """One that does not fail."""

    def line(self, step: int, figures: Mapping[str, float]) -> None:
        self.steps.append(step)

    def end(self, folder: RunFolder, results: Mapping[str, float]) -> None:
        self.results = dict(results)


class Warned(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[[int], RunFolder]:
    """A run's folder with so many logged steps."""

    def write(count: int) -> RunFolder:
        folder = RunFolder(tmp_path)
        folder.write_rows(folder.metrics, [{"step": step, "loss": 1.0 / step} for step in range(1, count + 1)])
        return folder

    return write


def test_a_sink_that_fails_is_named_once_and_left_out(write_lines: Callable[[int], RunFolder]) -> None:
    told, broken, whole = Warned(), Broken(), Whole()
    tracker = Tracker(write_lines(4), {"broken": broken, "whole": whole}, told)
    tracker.begin({})
    tracker.note("a line was written")
    tracker.end()
    assert told.warnings == ["tracking.broken is left out from here on: ConnectionError: gone"]
    assert (broken.steps, whole.steps, whole.results) == ([1], [1, 2, 3, 4], {})


def test_steps_that_come_again_after_a_resume_are_handed_on_once(write_lines: Callable[[int], RunFolder]) -> None:
    first, second = Whole(), Whole()
    Tracker(write_lines(6), {"whole": first}, Silent()).end()
    cut_back = Tracker(write_lines(4), {"whole": second}, Silent())
    cut_back.begin({})
    cut_back.note("back at step 4")
    write_lines(8)
    cut_back.end()
    assert first.steps == [1, 2, 3, 4, 5, 6]
    assert second.steps == [7, 8]


def test_a_package_that_is_missing_is_said_before_anything_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    require_installed(TrackingOptions())
    with pytest.raises(UsageError) as caught:
        require_installed(TrackingOptions(mlflow="sqlite:///x.db"))
    assert (caught.value.code, caught.value.where) == ("tracking/not-installed", "tracking.mlflow")
    assert caught.value.hint == "pip install 'burnish[mlflow]', or leave it out"


def test_nothing_is_imported_or_written_unless_it_is_named(toy: Path, tracked: Run) -> None:
    assert (tracked.path / "tracking.json").is_file()
    assert not (tracked.path / "wandb").exists()
