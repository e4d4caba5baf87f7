"""What a name means, and to whom."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from burnish.errors import ServiceError
from burnish.lifecycle.served_models import find_model
from burnish.lifecycle.service import Service
from burnish.registry.database import writing
from burnish.registry.keys import DEFAULT_PROJECT
from burnish.registry.queue import line_up
from burnish.registry.store import open_registry
from burnish.registry.version import NewVersion


def test_what_a_job_made_is_not_the_operators_before_it_is_served(tmp_path: Path) -> None:
    registry = open_registry(tmp_path)
    service = Service(registry, tmp_path, {}, {})
    row = {"created": time.time(), "status": "running", "asked": "{}", "chosen": "{}", "base": "b", "seed": 1}
    row |= {"training_file": "file-1", "priority": 0, "slot": "cpu"}
    with writing(registry.engine) as connection:
        line_up(connection, {**row, "id": "ftjob-theirs", "project": "theirs"}, {})
        line_up(connection, {**row, "id": "ftjob-ours", "project": DEFAULT_PROJECT}, {})
    ids = {}
    for name, place in {"by-hand": "runs/one", "theirs": "jobs/ftjob-theirs/3", "ours": "jobs/ftjob-ours/1"}.items():
        new = NewVersion("model", name, facts={"n": name}, search={"task": "chat"}, place=str(tmp_path / place))
        ids[name] = registry.put(new).id
    assert find_model(service, "by-hand:1", DEFAULT_PROJECT).key == f"version:{ids['by-hand']}"
    assert find_model(service, "ours:1", DEFAULT_PROJECT).key == f"version:{ids['ours']}"
    for name, project in [
        ("theirs:1", DEFAULT_PROJECT),
        ("by-hand:1", "theirs"),
        (ids["by-hand"][:6], DEFAULT_PROJECT),
        ("by-hand", DEFAULT_PROJECT),
    ]:
        with pytest.raises(ServiceError) as refused:
            find_model(service, name, project)
        assert refused.value.status == 404
