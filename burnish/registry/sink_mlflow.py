"""A run in MLflow (Apache-2.0): its recipe, figures, data and results; its model once an alias means it.

burnish's registry decides what an alias means; MLflow is told. Weights stay where they are: MLflow knows their place.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import excerpt
from burnish.registry.tracking import State, as_text, tags_of
from burnish.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "burnish"
PARAM_LIMIT, TAG_LIMIT = 500, 5_000  # characters that every store of MLflow takes
PARAMS_AT_ONCE = 100
KNOWN_BY, VERSION = "burnish.run", "burnish.version"  # tags with the ids of the run and of the model version


class Mlflow:
    """Parameters, figures with their steps, data sets as inputs, tags, and the results on the test rows.

    Args:
        address: of the tracking store and the model registry.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.run = ""

    def begin(self, folder: RunFolder, settings: Mapping[str, Any], state: State) -> None:
        from mlflow.entities import Param

        self.run = state.get("run", "")
        if self.run:  # it goes on
            return
        with _client(self.address) as client:
            experiment = _experiment(client, folder)
            tags = {name: value[:TAG_LIMIT] for name, value in tags_of(folder.manifest()).items()}
            self.run = state["run"] = client.create_run(experiment, run_name=folder.id, tags=tags).info.run_id
            params = [Param(name, as_text(value, PARAM_LIMIT)) for name, value in settings.items()]
            for first in range(0, len(params), PARAMS_AT_ONCE):
                client.log_batch(self.run, params=params[first : first + PARAMS_AT_ONCE])
            client.log_inputs(self.run, datasets=_inputs(folder.manifest()))

    def line(self, step: int, figures: Mapping[str, float]) -> None:
        with _client(self.address) as client:
            client.log_batch(self.run, metrics=_metrics(figures, step))

    def end(self, folder: RunFolder, results: Mapping[str, float]) -> None:
        from mlflow.entities import RunTag

        manifest = folder.manifest()
        with _client(self.address) as client:
            tags = [RunTag(name, value[:TAG_LIMIT]) for name, value in tags_of(manifest).items()]
            step = int((manifest.get("training") or {}).get("steps", 0))
            client.log_batch(self.run, metrics=_metrics(results, step), tags=tags)
            client.set_terminated(self.run, "FINISHED" if manifest.get("status") == "finished" else "KILLED")


def mirror_alias(address: str, *, run: str, name: str, alias: str, version: str, source: Path) -> str:
    """Lets `models:/NAME@ALIAS` mean a model of burnish's registry; gives that address.

    Args:
        run: id of the run that the model is from.
        version: id of the model version.
        source: the folder of its final model.
    """
    with _client(address) as client:
        from mlflow.exceptions import MlflowException

        with contextlib.suppress(MlflowException):  # it is there already
            client.create_registered_model(name)
        stored = client.search_model_versions(f"name = '{name}'")
        known = next((each for each in stored if each.tags.get(VERSION) == version), None)
        if known is None:
            tags = {VERSION: version}
            known = client.create_model_version(name, source.as_uri(), run_id=_run_of(client, run), tags=tags)
        client.set_registered_model_alias(name, alias, known.version)
    return f"models:/{name}@{alias}"


@contextlib.contextmanager
def _client(address: str) -> Iterator[MlflowClient]:
    """A client of MLflow that reports nothing to anybody; what its libraries warn of is not ours to mend."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        yield MlflowClient(tracking_uri=address, registry_uri=address)


def _experiment(client: MlflowClient, folder: RunFolder) -> str:
    """The experiment of all runs; a store in a file keeps its artifacts beside the runs."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    place = (folder.path.absolute().parent / "mlflow-artifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=place))


def _run_of(client: MlflowClient, run: str) -> str | None:
    """MLflow's id of a run, where it was tracked."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None or "'" in run:
        return None
    found = client.search_runs([experiment.experiment_id], f"tags.`{KNOWN_BY}` = '{run}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _metrics(figures: Mapping[str, float], step: int) -> list[Any]:
    """Figures as MLflow takes them; its names know no @."""
    from mlflow.entities import Metric

    now = int(time.time() * 1_000)
    return [Metric(name.replace("@", " at "), value, now, step) for name, value in figures.items()]


def _inputs(manifest: Mapping[str, Any]) -> list[Any]:
    """The data files of a run, each with the beginning of its sha256 as digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = manifest.get("data") or {}
    version = InputTag("burnish.data_version", str(data.get("version", "")))
    return [
        DatasetInput(
            Dataset(
                excerpt(Path(name).name, 400),
                str(facts.get("sha256") or data.get("split_fingerprint"))[:36],
                "local",
                json.dumps({"uri": name}),
                profile=json.dumps({"num_rows": facts.get("rows")}),
            ),
            [version],
        )
        for name, facts in (data.get("files") or {}).items()
    ]
