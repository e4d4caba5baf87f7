"""Which files a recipe means: plain names, patterns with * and ?, and URLs of other stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from burnish.data.remote import fetch, is_remote
from burnish.errors import DataReadError


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to read: its name for people, as the user wrote it or as the pattern found it, and where it is."""

    name: str
    path: Path


def find_files(names: Iterable[str], base_folder: Path) -> list[DataFile]:
    """The files that names stand for, those of a pattern in the order of their names.

    Args:
        names: paths, patterns such as "tickets/*.csv" ("**" for any folders), or URLs of a remote store.
        base_folder: the folder relative paths start at.

    Raises:
        DataReadError: [data/missing-file] for a pattern that matches nothing; the codes of `fetch` for a URL. A plain
            path is not looked at.
    """
    found: list[DataFile] = []
    for name in names:
        if is_remote(name):
            found += [DataFile(url, path) for url, path in fetch(name)]
        elif is_pattern(name, base_folder):
            found += [DataFile(match, base_folder / match) for match in _matches(name, base_folder)]
        else:
            found.append(DataFile(name, base_folder / name))
    return found


def is_pattern(name: str, base_folder: Path) -> bool:
    """Whether a name stands for several files: it holds *, ? or [, and no file is called so."""
    return has_magic(name) and "\0" not in name and not (base_folder / name).exists()


def _matches(pattern: str, base_folder: Path) -> list[str]:
    """Paths as the pattern begins: absolute, or relative to the base folder; ** does not follow links to folders."""
    start = Path(Path(pattern).anchor) if Path(pattern).is_absolute() else base_folder
    hidden = Path(pattern).name.startswith(".")
    try:
        found = sorted(start.glob(str(Path(pattern).relative_to(Path(pattern).anchor))))
    except (ValueError, NotImplementedError) as error:
        raise _matches_nothing(pattern, f"is no pattern: {error}") from None
    files = [path for path in found if (hidden or not path.name.startswith(".")) and not path.is_dir()]
    if not files:
        raise _matches_nothing(pattern, "matches no file")
    return [str(path if start != base_folder else path.relative_to(base_folder)) for path in files]


def _matches_nothing(pattern: str, message: str) -> DataReadError:
    hint = "check the pattern; paths in a recipe start at its folder, and ** stands for any folders"
    return DataReadError("data/missing-file", message, where=pattern, hint=hint)
