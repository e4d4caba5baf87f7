"""The one way burnish writes: complete or absent, whatever dies in between.

A file appears under its name only after its bytes are on the disk: temporary name in the same folder -> fsync ->
rename -> fsync of the folder. A folder gets a manifest with size and sha256 of each file before its rename.
Source of the order: "All File Systems Are Not Created Equal", Pillai et al., OSDI 2014.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from burnish.errors import DamagedStoreError, DiskFullError, UsageError
from burnish.storage.fingerprint import file_sha256

MANIFEST = "files.json"  # {"file": {"sha256": ..., "bytes": ...}} of a published folder
TEMPORARY = ".tmp-"


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by `text` (UTF-8), durably and at once."""
    with explained(path, len(text)):
        temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
        try:
            with temporary.open("w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_lines(path: Path, values: list[Mapping[str, Any]]) -> int:
    """Appends one JSON object a line, in place of a cut-off last one; gives the file's size in bytes afterwards.

    The name of a new file is on the disk then; its lines are after an fsync of the file.
    """
    data = "".join(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values).encode()
    with explained(path, len(data)):
        new = not path.exists()
        with path.open("ab+") as stream:
            _drop_cut_line(stream)
            stream.write(data)
            stream.flush()
            size = stream.tell()
        if new:
            fsync_folder(path.parent)
        return size


def _drop_cut_line(stream: IO[bytes]) -> None:
    """Removes what a crash or a full disk left of a last line, so that the next one starts at its beginning."""
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        return
    stream.seek(size - 1)
    if stream.read(1) != b"\n":
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)


def truncate(path: Path, size: int) -> None:
    """Cuts `path` back to `size` bytes, so that lines written after a checkpoint are written once, not twice."""
    if path.exists() and path.stat().st_size > size:
        with explained(path, 0), path.open("r+b") as stream:
            stream.truncate(size)
            os.fsync(stream.fileno())


@contextlib.contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill; it becomes `target`, complete with a manifest, when the block ends well.

    Raises:
        DiskFullError: [storage/disk-full]; nothing of the attempt remains.
        DamagedStoreError: [storage/io-error]; likewise.
    """
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{target.name}")
    with explained(target, 0):
        _make_durably(target.parent)
        try:
            temporary.mkdir()
            yield temporary
            files = sorted(p for p in temporary.rglob("*") if p.is_file())
            for path in files:
                _fsync(path)
            manifest = {
                path.relative_to(temporary).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
                for path in files
            }
            write_json(temporary / MANIFEST, manifest)
            for folder in {path.parent for path in files}:
                fsync_folder(folder)
            if target.exists():  # a folder made by an attempt that is being repeated
                remove_published(target)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_folder(target.parent)


@contextlib.contextmanager
def assembled_folder(target: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill with whole files; it becomes `target` at once when the block ends well.

    The files are durable already: linked from published folders, or written by this module. What was `target` before
    stays when the name is taken.
    """
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{target.name}")
    with explained(target, 0):
        _make_durably(target.parent)
        try:
            temporary.mkdir()
            yield temporary
            for folder in {path for path in temporary.rglob("*") if path.is_dir()}:
                fsync_folder(folder)
            fsync_folder(temporary)
            if target.exists():
                shutil.rmtree(temporary)
            else:
                temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_folder(target.parent)


def link_folder(source: Path, target: Path) -> None:
    """Gives the files of a published folder a second name, in a new folder; a file system without links copies them."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        link_file(path, target / path.name)


def link_file(source: Path, target: Path) -> None:
    """Gives a file that never changes a second name; without links it is copied durably, whole or not at all.

    Raises:
        FileExistsError: when the name is taken.
    """
    with explained(target, 0):
        try:
            os.link(source, target)
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError:
            temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{target.name}")
            try:
                shutil.copyfile(source, temporary)
                _fsync(temporary)
                temporary.rename(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def copy_file(source: Path, target: Path) -> None:
    """Copies a file into a folder that `published_folder` makes durable."""
    with explained(target, source.stat().st_size):
        shutil.copyfile(source, target)


def remove_folder(folder: Path) -> None:
    """Deletes a folder that nobody needs any more, as far as it goes: somebody may still be writing into it."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_published(folder: Path) -> None:
    """Deletes a published folder: its name goes first, so that nobody ever sees a part of it."""
    doomed = folder.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{folder.name}")
    shutil.rmtree(folder.rename(doomed))


def damage_of(folder: Path, needed: Collection[str] = ()) -> str | None:
    """What differs between a published folder and its manifest, in one sentence; None when every byte is there.

    Args:
        needed: names the manifest must list.
    """
    try:
        manifest: dict[str, dict[str, Any]] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is missing or unreadable"
    for name in needed:
        if name not in expected:
            return f"{name} is not listed in {MANIFEST}"
    for name, (size, sha256) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if file_sha256(path) != sha256:
            return f"{name} differs from its sha256"
    return None


def require_undamaged(folder: Path) -> None:
    """Raises DamagedStoreError [storage/damaged] when a published folder is not what its manifest promises."""
    damage = damage_of(folder)
    if damage:
        raise DamagedStoreError(
            "storage/damaged",
            f"the stored files are not what was written: {damage}",
            where=str(folder),
            hint="restore the folder from a copy, or train again",
        )


def remove_leftovers(folder: Path, *, older_than_seconds: float = 0.0, of: str | None = None) -> None:
    """Deletes temporary files and folders that a killed process left behind.

    Args:
        older_than_seconds: younger ones stay; for a folder in which other processes may be at work.
        of: only those of the published folder with this name; for a folder that is not burnish's own.
    """
    if folder.is_dir():
        for path in folder.glob(f"{TEMPORARY}*" if of is None else f"{TEMPORARY}*-{glob.escape(of)}"):
            if older_than_seconds and time.time() - path.stat().st_mtime < older_than_seconds:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Creates a folder with its parents, or says why it cannot."""
    try:
        with explained(path, 0):
            _make_durably(path)
            probe = path / f"{TEMPORARY}{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise UsageError(
            "storage/not-writable",
            f"cannot write here: {error.strerror}",
            where=str(path),
            hint="name a folder you may write to with --output, or set BURNISH_RUNS",
        ) from error


def _make_durably(folder: Path) -> None:
    """Creates a folder with its parents; each one's name is on the disk before anything is put into it."""
    if not folder.is_dir():
        _make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuses before the start when the disk cannot hold what the run will write.

    Raises:
        DiskFullError: [storage/disk-too-small] with both sizes.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DiskFullError(
            "storage/disk-too-small",
            f"this run needs about {needed_bytes / 1e6:,.0f} MB and the disk has {free / 1e6:,.0f} MB free",
            where=str(folder),
            hint="free some space, lower checkpoint.keep, or name a folder on another disk with --output",
        )


def reserve(path: Path, size: int) -> None:
    """A new file with all its room on the disk: to write to a mapped file that finds none ends the process.

    Raises:
        DiskFullError: [storage/disk-full].
    """
    with explained(path, size), path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)


@contextlib.contextmanager
def explained(path: Path, size: int) -> Iterator[None]:
    """Turns "no space left" and "input/output error" of whatever library writes to `path` into one clear error."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            raise disk_full(path, size) from error
        if number == errno.EIO or "Input/output error" in str(error):
            raise DamagedStoreError(
                "storage/io-error",
                "the disk failed to store what was written (input/output error)",
                where=str(path),
                hint="check the disk and its cable or network, then go on with `burnish resume`",
            ) from error
        raise


def disk_full(path: Path, size: int) -> DiskFullError:
    needed = f" ({size:,} bytes to write)" if size else ""
    return DiskFullError(
        "storage/disk-full",
        f"no space left on the disk{needed}; everything written before is untouched",
        where=str(path),
        hint="free some space, then go on with `burnish resume`",
    )


def fsync_file(path: Path) -> None:
    with explained(path, 0):
        _fsync(path)


def _fsync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def fsync_folder(path: Path) -> None:
    """Makes names in a folder durable; Windows has no such call and orders renames itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
