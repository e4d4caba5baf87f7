"""What is written is complete or absent, whatever dies in between."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from burnish.errors import DamagedStoreError, DiskFullError, UsageError
from burnish.storage import durable
from burnish.storage.durable import (
    MANIFEST,
    TEMPORARY,
    append_lines,
    damage_of,
    explained,
    fsync_file,
    make_folder,
    published_folder,
    remove_leftovers,
    remove_published,
    require_space,
    require_undamaged,
    truncate,
    write_json,
    write_text,
)
from burnish.storage.fingerprint import file_sha256


class PowerCut(BaseException):
    """The process dies here."""


def fails_with(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def no_space(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def publish(folder: Path, **files: str) -> None:
    with published_folder(folder) as temporary:
        for name, text in files.items():
            (temporary / name).write_text(text)


def test_write_text_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "a longer text\n")
    write_text(path, "é\r\n")
    assert path.read_bytes() == b"\xc3\xa9\r\n"  # bytes as given on every system
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_write_json_is_readable_and_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": [1, None]})
    assert path.read_text(encoding="utf-8") == '{\n  "é": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": [1, None]}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": True})
    monkeypatch.setattr(os if call == "fsync" else Path, call, fails_with(PowerCut()))
    with pytest.raises(PowerCut):
        write_json(path, {"new": True})
    assert json.loads(path.read_text()) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, then rename, then fsync of the folder."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def seen_fsync(descriptor: int) -> None:
        calls.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync file")  # noqa: PTH112
        fsync(descriptor)

    def seen_replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    write_text(tmp_path / "a.txt", "text")
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("descriptors cannot be told apart here")
    assert calls == ["fsync file", "rename", "fsync folder"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    """A real death: the child writes a new version and is gone before the rename."""
    import subprocess
    import sys

    path = tmp_path / "a.json"
    write_json(path, {"old": True})
    script = (
        "import os, signal, sys; from pathlib import Path; from burnish.storage.durable import write_json\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_json(Path(sys.argv[1]), {'new': True})\n"
    )
    dead = subprocess.run([sys.executable, "-c", script, str(path)], check=False, capture_output=True)
    assert dead.returncode == -9, dead.stderr.decode()
    assert json.loads(path.read_text()) == {"old": True}
    assert len(list(tmp_path.iterdir())) == 2  # the temporary file
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_appended_lines_and_the_size_after_them(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = append_lines(path, [{"step": 1}])
    second = append_lines(path, [{"step": 2}, {"text": "é"}])
    assert path.read_bytes() == '{"step": 1}\n{"step": 2}\n{"text": "é"}\n'.encode()
    assert (first, second) == (len('{"step": 1}\n'), path.stat().st_size)
    truncate(path, first)
    assert path.read_bytes() == b'{"step": 1}\n'


def test_truncate_never_lengthens_and_ignores_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    truncate(path, 0)
    assert not path.exists()
    path.write_bytes(b"abc")
    truncate(path, 10)
    assert path.read_bytes() == b"abc"


def test_a_published_folder_carries_size_and_sha256_of_every_file(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "step-1"
    with published_folder(target) as temporary:
        assert temporary.parent == target.parent
        assert not target.exists()
        (temporary / "sub").mkdir()
        (temporary / "a.txt").write_text("abc")
        (temporary / "sub" / "b.txt").write_text("")
    manifest = json.loads((target / MANIFEST).read_text())
    assert manifest == {
        "a.txt": {"sha256": file_sha256(target / "a.txt"), "bytes": 3},
        "sub/b.txt": {"sha256": file_sha256(target / "sub" / "b.txt"), "bytes": 0},
    }
    assert damage_of(target) is None
    assert [p.name for p in target.parent.iterdir()] == ["step-1"]


@pytest.mark.parametrize("where", ["body", "fsync", "rename"])
def test_an_attempt_that_dies_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def attempt() -> None:
        with published_folder(tmp_path / "step-1") as temporary:
            (temporary / "a.txt").write_text("abc")
            if where == "body":
                raise PowerCut
            monkeypatch.setattr(os if where == "fsync" else Path, where, fails_with(PowerCut()))

    with pytest.raises(PowerCut):
        attempt()
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_attempt_replaces_the_folder(tmp_path: Path) -> None:
    publish(tmp_path / "step-1", old="1")
    publish(tmp_path / "step-1", new="2")
    assert sorted(p.name for p in (tmp_path / "step-1").iterdir()) == [MANIFEST, "new"]


def test_a_published_folder_disappears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "step-1", a="abc", b="abc")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", fails_with(PowerCut()))
        with pytest.raises(PowerCut):
            remove_published(tmp_path / "step-1")
    assert not (tmp_path / "step-1").exists()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}1234-step-2").mkdir()
    (tmp_path / f"{TEMPORARY}1234-step-2" / "a").write_text("half")
    (tmp_path / f"{TEMPORARY}1234-a.json").write_text("half")
    publish(tmp_path / "step-1", a="1")
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-1"]
    remove_leftovers(tmp_path / "absent")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (lambda f: (f / "a").write_text("abd"), "a differs from its sha256"),
    "cut": (lambda f: (f / "a").write_text("ab"), "a has 2 bytes instead of 3"),
    "longer": (lambda f: (f / "a").write_text("abcd"), "a has 4 bytes instead of 3"),
    "missing": (lambda f: (f / "a").unlink(), "a is missing"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "files.json is missing or unreadable"),
    "cut manifest": (lambda f: (f / MANIFEST).write_text('{"a"'), "files.json is missing or unreadable"),
    "other manifest": (lambda f: (f / MANIFEST).write_text("[1]"), "files.json is missing or unreadable"),
    "manifest without sizes": (lambda f: (f / MANIFEST).write_text('{"a": {}}'), "files.json is missing or unreadable"),
    "manifest of bytes": (lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe"), "files.json is missing or unreadable"),
    "no folder": (lambda f: shutil.rmtree(f), "files.json is missing or unreadable"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_and_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "final"
    publish(folder, a="abc", b="")
    harm, sentence = DAMAGES[damage]
    harm(folder)
    assert damage_of(folder) == sentence
    with pytest.raises(DamagedStoreError) as caught:
        require_undamaged(folder)
    assert caught.value.code == "storage/damaged"
    assert caught.value.exit_code == 6
    assert caught.value.where == str(folder)
    assert sentence in caught.value.message


def test_an_undamaged_folder_passes(tmp_path: Path) -> None:
    publish(tmp_path / "final", a="abc")
    require_undamaged(tmp_path / "final")


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "abcde"),
    "json": lambda path: write_json(path, {}),
    "folder": lambda path: publish(path, a="abc"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_names_the_path_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFullError) as caught:
        WRITERS[writer](tmp_path / "target")
    assert caught.value.code == "storage/disk-full"
    assert caught.value.exit_code == 5
    assert caught.value.where == str(tmp_path / "target")
    assert "burnish resume" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_was_written_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")
    publish(tmp_path / "step-1", a="old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFullError, match=r"5 bytes to write"):
        write_text(tmp_path / "a.txt", "newer")
    with pytest.raises(DiskFullError):
        publish(tmp_path / "step-1", a="new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert damage_of(tmp_path / "step-1") is None


def test_a_full_disk_while_appending(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(DiskFullError) as caught:
        append_lines(full, [{"step": 1}])
    assert caught.value.where == "/dev/full"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }'),
    ],
)
def test_no_space_is_understood_from_any_library(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(DiskFullError), explained(tmp_path, 0):
        raise error


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error"), RuntimeError("I/O error: Input/output error (os error 5)")],
)
def test_a_failing_disk_is_understood_from_any_library(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(DamagedStoreError) as caught, explained(tmp_path, 0):
        raise error
    assert (caught.value.code, caught.value.where, caught.value.exit_code) == ("storage/io-error", str(tmp_path), 6)
    assert "burnish resume" in str(caught.value.hint)


def test_a_failing_disk_while_a_log_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_lines(tmp_path / "a.jsonl", [{"step": 1}])
    monkeypatch.setattr(os, "fsync", fails_with(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(DamagedStoreError) as caught:
        fsync_file(tmp_path / "a.jsonl")
    assert caught.value.where == str(tmp_path / "a.jsonl")


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), explained(tmp_path, 0):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_make_folder_creates_parents_and_leaves_no_probe(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (lambda folder: make_folder(folder / "a" / "b"), [".", "a"]),
        (lambda folder: append_lines(folder / "a.jsonl", [{}]), ["."]),
    ],
)
def test_names_of_new_folders_and_logs_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object], names: list[str]
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "fsync_folder", synced.append)
    write(tmp_path)
    assert synced == [tmp_path / name for name in names]
    write(tmp_path)
    assert len(synced) == len(names)


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        make_folder(tmp_path / "file" / "run")
    assert caught.value.code == "storage/not-writable"
    assert caught.value.where == str(tmp_path / "file" / "run")
    assert "--output" in str(caught.value.hint)


def test_no_room_for_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "touch", no_space)
    with pytest.raises(DiskFullError) as caught:
        make_folder(tmp_path / "run")
    assert caught.value.code == "storage/disk-full"


def test_space_is_asked_for_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable.shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    require_space(tmp_path, 3_000_000)
    with pytest.raises(DiskFullError) as caught:
        require_space(tmp_path, 2_000_000_000)
    assert caught.value.code == "storage/disk-too-small"
    assert "about 2,000 MB" in caught.value.message
    assert "3 MB free" in caught.value.message
    assert caught.value.where == str(tmp_path)


def test_without_links_a_file_is_copied_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("abcde")
    monkeypatch.setattr(os, "link", fails_with(OSError(errno.EPERM, "Operation not permitted")))

    def half(_: Path, to: Path) -> None:
        to.write_text("abc")
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", half)
        with pytest.raises(PowerCut):
            durable.link_file(source, target)
    assert list(tmp_path.iterdir()) == [source]
    durable.link_file(source, target)
    assert target.read_text() == "abcde"


def test_a_second_name_replaces_nothing(tmp_path: Path) -> None:
    for name in ("source", "target"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        durable.link_file(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "target"
