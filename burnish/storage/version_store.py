"""Where the files of versions lie: a folder, or an object store by URL; each version complete or absent.

    <root>/<first two digits>/<id>/...files...
                                  files.json     size and sha256 of each, written last

A version from an object store is used from a copy under the home, which is verified like the original.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from burnish.errors import BurnishError, DamagedStoreError, RegistryError, UsageError
from burnish.storage.durable import (
    MANIFEST,
    TEMPORARY,
    copy_file,
    explained,
    make_folder,
    published_folder,
    remove_leftovers,
    remove_published,
)
from burnish.storage.lock import waited

PATIENCE_SECONDS = 600  # for another process that stores the same version
VERSION_ID = re.compile(r"[0-9a-f]{64}")
SCHEMES: Mapping[str, str] = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}  # URL scheme -> the package that speaks it


class VersionStore(Protocol):
    """Puts, gives and removes folders of files by the id of their version."""

    def publish(self, version: str, files: Mapping[str, Path]) -> None:
        """Stores copies of files under their names; a version that is there already is left."""
        ...

    def folder(self, version: str) -> Path:
        """A local folder with the files of a version; it is not verified yet.

        Raises:
            DamagedStoreError: [storage/damaged] when it is not there.
        """
        ...

    def fresh(self, version: str) -> contextlib.AbstractContextManager[Path]:
        """The same for a moment, read from where it is stored and not from a copy of earlier."""
        ...

    def remove(self, version: str) -> None:
        """Deletes a version's files, if there are any."""
        ...

    def ids(self) -> Iterator[tuple[str, float]]:
        """What is stored whole, with its age in seconds."""
        ...

    def remove_leftovers(self, older_than_seconds: float) -> None:
        """Deletes what killed processes left half written."""
        ...


def open_version_store(home: Path, url: str | None, *, folder: str = "versions") -> VersionStore:
    """The store that the settings name.

    Args:
        folder: of the home, and below the URL unless it is the versions', which lie there directly.

    Raises:
        UsageError: [storage/bad-url], [storage/needs-package].
    """
    if url is None:
        return LocalStore(home / folder)
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator or not rest.strip("/"):
        raise UsageError(
            "storage/bad-url",
            f'"{url}" is no place for versions',
            where="BURNISH_STORAGE_URL",
            known=[f"{name}://bucket/folder" for name in SCHEMES],
            hint="unset it to keep versions in the home",
        )
    try:
        import fsspec

        root = rest.strip("/") if folder == "versions" else f"{rest.strip('/')}/{folder}"
        return RemoteStore(fsspec.filesystem(scheme), root, url, LocalStore(home / "cache" / folder))
    except ImportError as error:
        raise UsageError(
            "storage/needs-package",
            f"the package {SCHEMES[scheme]} is not installed",
            where="BURNISH_STORAGE_URL",
            hint=f"pip install 'burnish[{scheme}]'",
        ) from error


class LocalStore:
    """Versions in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, version: str, files: Mapping[str, Path]) -> None:
        target = self._place(version)
        if target.is_dir():
            return
        make_folder(target.parent)
        with waited(target.parent, PATIENCE_SECONDS):  # another process may store the same
            if target.is_dir():
                return
            with published_folder(target) as folder:
                for name, source in files.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    copy_file(source, folder / name)

    def folder(self, version: str) -> Path:
        target = self._place(version)
        if not target.is_dir():
            raise gone(version, str(target))
        return target

    @contextlib.contextmanager
    def fresh(self, version: str) -> Iterator[Path]:
        yield self.folder(version)

    def remove(self, version: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            remove_published(self._place(version))

    def ids(self) -> Iterator[tuple[str, float]]:
        for path in self.root.glob("??/*"):
            if VERSION_ID.fullmatch(path.name):
                yield path.name, time.time() - path.stat().st_mtime

    def remove_leftovers(self, older_than_seconds: float) -> None:
        for shelf in (self.root, *self.root.glob("??")):
            remove_leftovers(shelf, older_than_seconds=older_than_seconds)

    def _place(self, version: str) -> Path:
        return self.root / version[:2] / version


class RemoteStore:
    """Versions in an object store, where a file appears whole but a folder does not: its manifest comes last."""

    def __init__(self, files: Any, root: str, url: str, copies: LocalStore) -> None:
        self._files = files
        self._root = root
        self._url = url
        self._copies = copies

    def publish(self, version: str, files: Mapping[str, Path]) -> None:
        with self._told():
            if self._files.exists(f"{self._place(version)}/{MANIFEST}"):
                return
            self._copies.publish(version, files)
            copy = self._copies.folder(version)
            for name in files:
                self._files.put_file(str(copy / name), f"{self._place(version)}/{name}")
            self._files.put_file(str(copy / MANIFEST), f"{self._place(version)}/{MANIFEST}")

    def folder(self, version: str) -> Path:
        with contextlib.suppress(DamagedStoreError):
            return self._copies.folder(version)
        with self.fresh(version) as fetched:
            paths = (path for path in fetched.rglob("*") if path.is_file() and path != fetched / MANIFEST)
            self._copies.publish(version, {path.relative_to(fetched).as_posix(): path for path in paths})
        return self._copies.folder(version)

    @contextlib.contextmanager
    def fresh(self, version: str) -> Iterator[Path]:
        place = self._place(version)
        make_folder(self._copies.root)
        fetched = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self._copies.root))
        try:
            with self._told():
                self._files.invalidate_cache()
                found = self._files.find(place)
                if f"{place}/{MANIFEST}" not in found:
                    raise gone(version, f"{self._url}: {place}")
                for remote in found:
                    local = fetched / remote.removeprefix(f"{place}/")
                    local.parent.mkdir(parents=True, exist_ok=True)
                    self._files.get_file(remote, str(local))
            yield fetched
        finally:
            shutil.rmtree(fetched, ignore_errors=True)

    def remove(self, version: str) -> None:
        place = self._place(version)
        with self._told():
            self._files.invalidate_cache()
            if self._files.exists(f"{place}/{MANIFEST}"):
                self._files.rm_file(f"{place}/{MANIFEST}")  # from here on it is not whole
            for remote in self._files.find(place):
                self._files.rm_file(remote)
        self._copies.remove(version)

    def ids(self) -> Iterator[tuple[str, float]]:
        for version, name, _, age in self._stored():
            if name == MANIFEST:
                yield version, age

    def remove_leftovers(self, older_than_seconds: float) -> None:
        stored = self._stored()
        whole = {version for version, name, _, _ in stored if name == MANIFEST}
        with self._told():
            for version, _, place, age in stored:
                if version not in whole and age >= older_than_seconds:
                    self._files.rm_file(place)
        self._copies.remove_leftovers(older_than_seconds)

    def _stored(self) -> list[tuple[str, str, str, float]]:
        """(version, file, its place in the store, its age in seconds) of every file of a version."""
        with self._told():
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        stored = []
        for place, about in found.items():
            version, _, name = place.removeprefix(f"{self._root}/").partition("/")[2].partition("/")
            written = about.get("LastModified") or about.get("last_modified") or about.get("created")
            if VERSION_ID.fullmatch(version):
                stored.append((version, name, place, time.time() - written.timestamp() if written else 0.0))
        return stored

    def _place(self, version: str) -> str:
        return f"{self._root}/{version[:2]}/{version}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what a store's client says into one clear error."""
        try:
            with explained(self._copies.root, 0):
                yield
        except BurnishError:
            raise
        except Exception as error:  # clients raise whatever their vendor raises
            raise RegistryError(
                "registry/unreachable",
                f"the object store does not answer: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
                where=self._url,
                hint="check BURNISH_STORAGE_URL, the credentials and the network, then try again",
            ) from error


def gone(version: str, where: str) -> DamagedStoreError:
    return DamagedStoreError(
        "storage/damaged",
        f"the files of version {version[:12]} are not there",
        where=where,
        hint="restore them from a copy made by `burnish backup`",
    )
