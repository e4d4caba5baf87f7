"""A budget of tokens is one for all servers, and nothing that was spent is lost on its way to the database."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from burnish.api import limits
from burnish.api.access import Caller
from burnish.api.limits import Meter
from burnish.errors import RegistryError, ServiceError
from burnish.registry.keys import create_key, note_use, tokens_today
from burnish.registry.store import Registry, open_registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry(tmp_path)


@pytest.fixture
def caller(registry: Registry) -> Caller:
    key, _ = create_key(registry, role="inference", project="a", limits={"tokens_per_day": 100})
    return Caller(key.id, key.project, key.role, key)


def test_a_server_knows_what_the_others_spent(
    registry: Registry, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KNOWN_SECONDS", 0.0)
    one, other = Meter(registry), Meter(registry)
    for meter in (one, other):
        asyncio.run(meter.enter(caller))
    one.spend(caller, 60)
    other.spend(caller, 30)
    for meter in (one, other):
        meter.flush()
    asyncio.run(other.enter(caller))
    other.spend(caller, 10)
    other.flush()
    with pytest.raises(ServiceError) as caught:
        asyncio.run(one.enter(caller))
    assert caught.value.code == "limits/tokens"


def test_what_is_spent_while_it_is_noted_or_cannot_be_noted_is_noted_later(
    registry: Registry, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert caller.key is not None
    meter = Meter(registry)
    asyncio.run(meter.enter(caller))
    meter.spend(caller, 40)

    def away(*_: Any) -> None:
        raise RegistryError("registry/unreachable", "the database does not answer")

    def slow(*given: Any) -> None:
        meter.spend(caller, 7)
        note_use(*given)

    for note in (away, slow, note_use):
        monkeypatch.setattr(limits, "note_use", note)
        if note is away:
            with pytest.raises(RegistryError):
                meter.flush()
        else:
            meter.flush()
    assert tokens_today(registry, caller.key.id, time.time()) == 47
