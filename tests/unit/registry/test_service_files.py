"""Files of the service: stored whole, owned, limited, and gone when their time has come."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from burnish.errors import DamagedStoreError, ServiceError
from burnish.lifecycle.housekeeping import backup, verify
from burnish.registry.database import reading, writing
from burnish.registry.files import (
    StoredFile,
    delete_file,
    file_path,
    find_file,
    list_files,
    place_of,
    store_file,
    sweep_files,
)
from burnish.registry.keys import check_key, create_key
from burnish.registry.queue import line_up
from burnish.registry.service_tables import JOBS, UPLOADS
from burnish.registry.store import Registry, open_registry
from burnish.registry.uploads import cancel_upload, complete_upload, create_upload, receive_part, sweep_uploads
from burnish.settings import settings
from burnish.storage.durable import TEMPORARY


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BURNISH_MAX_UPLOAD_BYTES", "1000")
    monkeypatch.setenv("BURNISH_MAX_PROJECT_BYTES", "2500")
    settings.cache_clear()
    yield open_registry()
    settings.cache_clear()


def stored(registry: Registry, content: bytes = b"rows", project: str = "a", **more: object) -> StoredFile:
    chunks = [content[start : start + 7] for start in range(0, len(content), 7)]
    given = {"filename": "rows.jsonl", "purpose": "fine-tune", **more}
    return store_file(registry, project, chunks=chunks, **given)  # type: ignore[arg-type]


def leftovers(registry: Registry) -> list[Path]:
    return list(registry.files.incoming.glob("*"))


def test_a_file_comes_back_as_it_was_and_to_its_project_only(registry: Registry) -> None:
    content = bytes(range(256)) * 3
    file = stored(registry, content)
    assert file_path(registry, find_file(registry, "a", file.id)).read_bytes() == content
    assert (file.size_bytes, file.sha256) == (768, hashlib.sha256(content).hexdigest())
    for project, id_ in (("b", file.id), ("a", "file-0"), ("a", "../../registry.db"), ("a", "")):
        with pytest.raises(ServiceError) as caught:
            find_file(registry, project, id_)
        assert (caught.value.status, caught.value.code) == (404, "files/not-found")
    with pytest.raises(ServiceError):
        delete_file(registry, "b", file.id)
    delete_file(registry, "a", file.id)
    assert not list(registry.files.store.ids())
    assert leftovers(registry) == []


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("../../etc/passwd", "passwd"), ("C:\\x\\rows.csv", "rows.csv"), ("a/..", "file"), ("ü.csv", "ü.csv")],
)
def test_a_name_is_no_path(registry: Registry, sent: str, shown: str) -> None:
    assert stored(registry, filename=sent).filename == shown


@pytest.mark.parametrize("sent", ["a\0b", "a\nb", "x" * 257])
def test_a_name_can_be_shown(registry: Registry, sent: str) -> None:
    with pytest.raises(ServiceError, match="printable"):
        stored(registry, filename=sent)


def test_too_much_is_refused_while_it_arrives_and_leaves_nothing(registry: Registry) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 100
            yield bytes(100)

    with pytest.raises(ServiceError) as caught:
        store_file(registry, "a", filename="x", purpose="batch", chunks=endless())
    assert (caught.value.status, taken) == (413, 1100)
    stored(registry, bytes(1000))
    stored(registry, bytes(1000))
    stored(registry, bytes(1000), project="b")
    with pytest.raises(ServiceError) as caught:
        stored(registry, bytes(501))
    assert caught.value.code == "files/quota"
    stored(registry, bytes(1001), purpose="fine-tune-results", limited=False)  # our own results are always kept
    assert leftovers(registry) == []
    with pytest.raises(ServiceError, match="empty"):
        stored(registry, b"", project="c")


def test_pages_go_on_after_a_deleted_file(registry: Registry) -> None:
    files = [stored(registry, purpose="batch" if number % 2 else "fine-tune") for number in range(5)]
    ids = [file.id for file in files]
    assert ids == sorted(ids) or len({id_[5:17] for id_ in ids}) < 5  # made in the same millisecond
    everything, more = list_files(registry, "a")
    assert ({file.id for file in everything}, more) == (set(ids), False)
    order = [file.id for file in everything]
    first, more = list_files(registry, "a", limit=2)
    assert ([file.id for file in first], more) == (order[:2], True)
    delete_file(registry, "a", first[-1].id)
    rest, more = list_files(registry, "a", after=first[-1].id)
    assert ([file.id for file in rest], more) == (order[2:], False)
    assert [file.id for file in list_files(registry, "a", newest_first=False, after=order[2])[0]] == [order[0]]
    assert all(file.purpose == "batch" for file in list_files(registry, "a", purpose="batch")[0])
    with pytest.raises(ServiceError):
        list_files(registry, "a", after="nonsense")


def test_an_expired_file_is_gone_at_once_and_swept_later(registry: Registry) -> None:
    file = stored(registry, expires=time.time() - 1)
    kept = stored(registry, expires=time.time() + 1000)
    with pytest.raises(ServiceError):
        find_file(registry, "a", file.id)
    assert [each.id for each in list_files(registry, "a")[0]] == [kept.id]
    assert sweep_files(registry) == [file.id]
    assert [place for place, _ in registry.files.store.ids()] == [place_of(kept.id)]


def test_what_was_arriving_when_a_server_was_killed_is_swept_later(registry: Registry) -> None:
    folder = registry.files.incoming
    folder.mkdir(parents=True, exist_ok=True)
    old, new = folder / f"{TEMPORARY}old", folder / f"{TEMPORARY}new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0.0, 0.0))
    sweep_files(registry)
    assert list(folder.iterdir()) == [new]  # it may be arriving still


def test_a_file_stays_as_long_as_a_job_needs_it(registry: Registry) -> None:
    file = stored(registry, expires=time.time() - 1)
    row = {"id": "ftjob-1", "project": "a", "created": 0.0, "status": "queued", "asked": "{}", "chosen": "{}"}
    row |= {"base": "b", "seed": 1, "training_file": "file-0", "validation_file": file.id, "priority": 0, "slot": "cpu"}
    with writing(registry.engine) as connection:
        line_up(connection, row, {})
    assert sweep_files(registry) == []
    with pytest.raises(ServiceError) as caught:
        delete_file(registry, "a", file.id)
    assert (caught.value.status, caught.value.code) == (409, "files/in-use")
    assert file_path(registry, find_file(registry, "a", file.id, also_expired=True)).read_bytes() == b"rows"
    with writing(registry.engine) as connection:
        connection.execute(update(JOBS).values(status="cancelled"))
    assert sweep_files(registry) == [file.id]


def test_changed_bytes_are_never_handed_out(registry: Registry) -> None:
    file = stored(registry)
    path = file_path(registry, file)
    path.write_bytes(b"rowz")
    with pytest.raises(DamagedStoreError):
        file_path(registry, file)
    assert verify()["damages"] == [f"file {file.id} (a): it differs from its sha256"]


def test_a_backup_is_a_home_with_the_files_and_keys(registry: Registry, tmp_path: Path) -> None:
    file = stored(registry, b"content")
    _, key = create_key(registry, role="reader")
    backup(tmp_path / "copy")
    copy = open_registry(tmp_path / "copy")
    assert file_path(copy, find_file(copy, "a", file.id)).read_bytes() == b"content"
    assert check_key(copy, key) is not None
    assert verify(tmp_path / "copy")["damages"] == []


def part(registry: Registry, upload: str, content: bytes, project: str = "a") -> str:
    with receive_part(registry, project, upload) as receiving:
        receiving.write(content)
        return receiving.store().id


def test_parts_become_one_file_in_the_order_named(registry: Registry) -> None:
    about = {"filename": "x/big.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl", "keep_seconds": 3600}
    upload = create_upload(registry, "a", size_bytes=6, **about)  # type: ignore[arg-type]
    second, first = part(registry, upload.id, b"def"), part(registry, upload.id, b"abc")
    for wrong in (
        lambda: part(registry, upload.id, b"g"),  # more than was promised
        lambda: part(registry, upload.id, b"g", "b"),
        lambda: complete_upload(registry, "b", upload.id, [first, second], None),
        lambda: complete_upload(registry, "a", upload.id, [first], None),
        lambda: complete_upload(registry, "a", upload.id, [first, first], None),
        lambda: complete_upload(registry, "a", upload.id, [first, "part_0"], None),
        lambda: complete_upload(registry, "a", upload.id, [first, second], "0" * 32),
    ):
        with pytest.raises(ServiceError):
            wrong()
    md5 = hashlib.md5(b"abcdef").hexdigest()
    done, file = complete_upload(registry, "a", upload.id, [first, second], md5)
    assert (done.status, done.file, file.filename) == ("completed", file.id, "big.jsonl")
    assert file_path(registry, file).read_bytes() == b"abcdef"
    assert file.expires is not None
    assert [place for place, _ in registry.files.store.ids()] == [place_of(file.id)]  # the parts are gone
    for late in (
        lambda: complete_upload(registry, "a", upload.id, [first, second], None),
        lambda: cancel_upload(registry, "a", upload.id),
        lambda: part(registry, upload.id, b"x"),
    ):
        with pytest.raises(ServiceError) as caught:
            late()
        assert caught.value.status == 409
    assert leftovers(registry) == []


def test_a_cancelled_upload_keeps_no_parts(registry: Registry) -> None:
    about = {"filename": "x", "purpose": "batch", "mime_type": "", "keep_seconds": None}
    upload = create_upload(registry, "a", size_bytes=6, **about)  # type: ignore[arg-type]
    part(registry, upload.id, b"abc")
    assert cancel_upload(registry, "a", upload.id).status == "cancelled"
    sweep_uploads(registry)
    assert not list(registry.files.store.ids())
    with pytest.raises(ServiceError) as caught:
        create_upload(registry, "a", size_bytes=1001, **about)  # type: ignore[arg-type]
    assert caught.value.status == 413


def test_parts_that_come_at_once_keep_to_the_quota_together(registry: Registry) -> None:
    about = {"filename": "x", "purpose": "batch", "mime_type": "", "keep_seconds": None}
    uploads = [create_upload(registry, "a", size_bytes=1000, **about) for _ in range(3)]  # type: ignore[arg-type]
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(receive_part(registry, "a", upload.id)) for upload in uploads]
        for each in parts:
            each.write(bytes(1000))
        for each in parts[:2]:
            each.store()
        with pytest.raises(ServiceError) as caught:
            parts[2].store()
    assert (caught.value.code, caught.value.status) == ("files/quota", 413)
    assert len(list(registry.files.store.ids())) == 2


def test_uploads_that_ended_are_forgotten_a_day_later(registry: Registry) -> None:
    about = {"filename": "x", "purpose": "batch", "mime_type": "", "keep_seconds": None}
    ids = [create_upload(registry, "a", size_bytes=1000, **about).id for _ in range(2)]  # type: ignore[arg-type]
    part(registry, ids[0], b"abc")
    with writing(registry.engine) as connection:
        connection.execute(update(UPLOADS).where(UPLOADS.c.id == ids[0]).values(expires=time.time() - 90_000))
    sweep_uploads(registry)
    with reading(registry.engine) as connection:
        assert list(connection.scalars(select(UPLOADS.c.id))) == [ids[1]]
    assert not list(registry.files.store.ids())
