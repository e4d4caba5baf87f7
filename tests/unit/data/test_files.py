"""Names stand for files, patterns for several in a settled order, URLs for copies of what a store holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from burnish.data import remote
from burnish.data.files import DataFile, find_files, is_pattern
from burnish.errors import DataReadError
from burnish.settings import settings


def refused(name: str, folder: Path) -> DataReadError:
    with pytest.raises(DataReadError) as caught:
        find_files([name], folder)
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "sub/c.csv", "sub/.hidden.csv", "x[1].csv", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text,label\n")
    (tmp_path / "folder.csv").mkdir()
    return tmp_path


def test_plain_names_are_not_looked_at(folder: Path) -> None:
    assert find_files(["b.csv", "missing.csv"], folder) == [
        DataFile("b.csv", folder / "b.csv"),
        DataFile("missing.csv", folder / "missing.csv"),
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["a.csv", "b.csv", "x[1].csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "sub/c.csv", "x[1].csv"]),
        ("sub/.*.csv", ["sub/.hidden.csv"]),
        ("x[1].csv", ["x[1].csv"]),
    ],
)
def test_patterns_give_files_in_the_order_of_their_names(folder: Path, pattern: str, names: list[str]) -> None:
    assert [file.name for file in find_files([pattern], folder)] == names
    assert [file.path for file in find_files([str(folder / pattern)], Path())] == [folder / name for name in names]


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "sub" / "one").symlink_to(folder)
    (folder / "sub" / "two").symlink_to(folder)
    assert [file.name for file in find_files(["**/c.csv"], folder)] == ["sub/c.csv"]


@pytest.mark.parametrize("pattern", ["*.parquet", "nowhere/*.csv", "**.csv", "folder*"])
def test_a_pattern_without_matches(folder: Path, pattern: str) -> None:
    error = refused(pattern, folder)
    assert (error.code, error.where) == ("data/missing-file", pattern)
    assert error.hint is not None
    assert "pattern" in error.hint


def test_what_a_pattern_is(folder: Path) -> None:
    assert is_pattern("*.csv", folder)
    assert not is_pattern("x[1].csv", folder)
    assert not is_pattern("a.csv", folder)
    assert not is_pattern("nul\0*", folder)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An object store in memory, as if s3:// were one."""
    monkeypatch.setattr(remote, "STORES", {**remote.STORES, "memory": ("fsspec", None)})
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    files = fsspec.filesystem("memory")
    files.store.clear()
    for name in ("b", "a"):
        files.pipe(f"/bucket/{name}.csv", f"text,label\n{name},1\n".encode())
    yield files
    files.store.clear()
    settings.cache_clear()


def test_a_url_is_read_from_a_copy(store: Any, tmp_path: Path) -> None:
    [file] = find_files(["memory://bucket/a.csv"], tmp_path)
    assert (file.name, file.path.read_bytes()) == ("memory://bucket/a.csv", b"text,label\na,1\n")
    assert file.path.is_relative_to(tmp_path / "home" / "cache" / "data")
    written = file.path.stat().st_mtime_ns
    assert find_files(["memory://bucket/a.csv"], tmp_path) == [file]
    assert file.path.stat().st_mtime_ns == written


def test_a_file_that_changed_in_the_store_is_fetched_again(store: Any, tmp_path: Path) -> None:
    find_files(["memory://bucket/a.csv"], tmp_path)
    store.pipe("/bucket/a.csv", b"text,label\nnew,1\n")
    assert find_files(["memory://bucket/a.csv"], tmp_path)[0].path.read_bytes() == b"text,label\nnew,1\n"


def test_a_damaged_copy_is_fetched_again(store: Any, tmp_path: Path) -> None:
    [file] = find_files(["memory://bucket/a.csv"], tmp_path)
    file.path.write_bytes(b"text,label\nX,1\n")
    assert find_files(["memory://bucket/a.csv"], tmp_path)[0].path.read_bytes() == b"text,label\na,1\n"


def test_patterns_of_a_store(store: Any, tmp_path: Path) -> None:
    names = [file.name for file in find_files(["memory://bucket/*.csv"], tmp_path)]
    assert names == ["memory://bucket/a.csv", "memory://bucket/b.csv"]


@pytest.mark.parametrize("url", ["memory://bucket/c.csv", "memory://nowhere/*.csv"])
def test_what_the_store_does_not_hold(store: Any, tmp_path: Path, url: str) -> None:
    error = refused(url, tmp_path)
    assert (error.code, error.where) == ("data/missing-file", url)


def test_offline(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_OFFLINE", "1")
    settings.cache_clear()
    error = refused("memory://bucket/a.csv", tmp_path)
    assert (error.code, error.where) == ("data/offline", "memory://bucket/a.csv")
    assert error.hint is not None
    assert "BURNISH_OFFLINE" in error.hint


def test_the_hub_keeps_its_own_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused("hf://datasets/owner/name/rows.csv", tmp_path).code == "data/offline"


def test_a_store_that_fails_in_its_own_way(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        pass

    def info(*_: object) -> None:
        raise NoCredentialsError("no keys\n\x1b[31m")

    monkeypatch.setattr(type(store), "info", info)
    error = refused("memory://bucket/a.csv", tmp_path)
    assert (error.code, error.where) == ("data/unreachable", "memory://bucket/a.csv")
    assert error.message == "cannot be fetched: no keys \\x1b[31m"


def test_a_store_without_its_package(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    if fsspec.utils.get_protocol("az://x") and _installed("adlfs"):
        pytest.skip("adlfs is installed")
    error = refused("az://box/rows.csv", tmp_path)
    assert (error.code, error.hint) == ("data/needs-package", "pip install 'burnish[az]'")


def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None
