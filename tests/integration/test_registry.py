"""The registry under kill -9, under several writers at once, in PostgreSQL and in an object store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from burnish.errors import DamagedStoreError, RegistryError
from burnish.registry.aliases import point
from burnish.registry.collect import collect, garbage
from burnish.registry.database import open_database, writing
from burnish.registry.queue import Claim, claim, extend, holding, line_up
from burnish.registry.queue import fail as end_with_error
from burnish.registry.store import Registry
from burnish.registry.verify import damages
from burnish.storage.version_store import LocalStore, RemoteStore

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals and calls of POSIX")]
if os.name != "nt":
    import stored_versions
    from stored_versions import new_model


def test_kills_and_flipped_bits(tmp_path: Path) -> None:
    outcome = stored_versions.torture(tmp_path, kills=12, flips=12, seed=2)
    assert outcome.flawless(), outcome.table()


def test_several_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    promoted, refused, wrong = stored_versions.at_once(tmp_path, url=None, times=10)
    assert promoted + refused == 20
    assert promoted > 0
    assert wrong == []


def test_several_processes_at_once_in_postgresql(tmp_path: Path, postgresql: str) -> None:
    promoted, refused, wrong = stored_versions.at_once(tmp_path, url=postgresql, times=10)
    assert promoted + refused == 20
    assert promoted > 0
    assert wrong == []


def test_a_lease_is_as_long_for_a_machine_whose_clock_is_wrong(
    tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_database(tmp_path, postgresql)
    row = {"id": "one", "project": "p", "created": 1.0, "status": "queued", "asked": "{}", "chosen": "{}", "base": "b"}
    row |= {"seed": 1, "training_file": "file-1", "priority": 0, "slot": "cpu"}
    with writing(engine) as connection:
        line_up(connection, row, {})
    asked = {"slot": "cpu", "lease_seconds": 600.0, "retries": 3}
    held = claim(engine, worker="right", **asked)
    assert held is not None
    now = time.time()
    for hours in (-24, 24):
        monkeypatch.setattr(time, "time", lambda: now + hours * 3600)  # noqa: B023
        assert claim(engine, worker="wrong", **asked) is None
    extend(engine, held, -1.0)
    again = claim(engine, worker="wrong", **asked)
    assert again is not None
    extend(engine, again, 600.0)
    monkeypatch.undo()
    assert claim(engine, worker="right", **asked) is None
    fail(engine, again)
    engine.dispose()


def fail(engine: Engine, held: Claim) -> None:
    """The job is no longer one that others may take."""
    with holding(engine, held) as connection:
        end_with_error(connection, held, {"code": "x", "message": "x", "param": None})


@pytest.fixture
def object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a bucket in a server that speaks S3."""
    server_of = pytest.importorskip("moto.server").ThreadedMotoServer
    s3 = pytest.importorskip("s3fs").S3FileSystem
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = server_of(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3.clear_instance_cache()  # they keep the address of the server before
    bucket = f"bucket-{tmp_path.name.replace('_', '-').lower()}"  # the server's memory outlives it
    s3().mkdir(bucket)
    try:
        yield f"s3://{bucket}/burnish"
    finally:
        s3.clear_instance_cache()
        server.stop()


def test_versions_in_an_object_store(tmp_path: Path, object_store: str) -> None:
    from burnish.storage.version_store import open_version_store

    home = tmp_path / "home"
    registry = Registry(open_database(home, None), open_version_store(home, object_store))
    first, second = (registry.put(new_model(tmp_path / "made", number)) for number in range(2))
    point(registry, first, "champion", gates=())
    assert (registry.folder(first) / "manifest.json").is_file()
    assert list(damages(registry)) == []

    elsewhere = tmp_path / "elsewhere"  # another machine: the same database, an empty home
    other = Registry(registry.engine, open_version_store(elsewhere, object_store))
    assert (other.folder(first) / "final" / "model.safetensors").is_file()
    (other.folder(first) / "final" / "model.safetensors").write_bytes(b"rotten")
    with pytest.raises(DamagedStoreError, match=r"final/model\.safetensors"):
        other.folder(first)
    assert list(damages(other)) == []  # the copy rots, the original does not

    store = registry.store
    assert isinstance(store, RemoteStore)
    assert [version.id for version in garbage(registry, older_than_days=0)] == [second.id]
    assert collect(registry, older_than_days=0) == [second.id]
    assert [version for version, _ in store.ids()] == [first.id]
    with pytest.raises(RegistryError):
        registry.get(second.id)


def test_an_object_store_that_rots_is_named(tmp_path: Path, object_store: str) -> None:
    import fsspec

    from burnish.storage.version_store import open_version_store

    home = tmp_path / "home"
    registry = Registry(open_database(home, None), open_version_store(home, object_store))
    version = registry.put(new_model(tmp_path / "made", 0))
    files = fsspec.filesystem("s3")
    place = f"{object_store.removeprefix('s3://')}/{version.id[:2]}/{version.id}"
    files.pipe_file(f"{place}/final/config.json", b"rotten")
    assert list(damages(registry)) == [
        f"model tickets:1 ({version.short_id}): final/config.json differs from its sha256"
    ]
    files.rm_file(f"{place}/files.json")
    files.invalidate_cache()
    assert "are not there" in next(iter(damages(registry)))
    assert isinstance(LocalStore(home / "cache" / "versions").folder(version.id), Path)
