"""A folder of images, one folder per class: `class/file`, or `train/class/file` with folders for the other parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from burnish.data.records import Record, SourceShape
from burnish.errors import DataReadError
from burnish.storage.fingerprint import file_sha256
from burnish.types import Origin, Split

PART_NAMES = {
    Split.TRAIN: ("train", "training"),
    Split.VALIDATION: ("validation", "val", "valid", "dev"),
    Split.TEST: ("test", "testing"),
}
SAMPLE = 1_000  # images that stand for the others when the format is decided


def folder_parts(folder: Path) -> dict[Split, Path]:
    """The folders of the parts in a folder; empty when it holds classes, and not a folder called train."""
    found = {
        part: next((folder / name for name in names if (folder / name).is_dir()), None)
        for part, names in PART_NAMES.items()
    }
    if found[Split.TRAIN] is None:
        return {}
    return {part: path for part, path in found.items() if path is not None}


def folder_shape(folder: Path, name: str) -> SourceShape:
    """The shape of an image folder: the columns "image" and "label".

    Raises:
        DataReadError: [data/no-classes] when it does not hold folders with files.
    """
    sample = [record for _, record in zip(range(SAMPLE), folder_records(folder, name), strict=False)]
    if not sample:
        raise DataReadError(
            "data/no-classes",
            "is a folder without folders of images in it",
            where=name,
            hint="put the images of each class into a folder of its own: FOLDER/CLASS/FILE; for rows in files name one "
            "of them, or several with a pattern: 'folder/*.csv'",
        )
    return SourceShape(
        name=name,
        format="image-folder",
        dialect=None,
        header=True,
        columns=("image", "label"),
        first_line=1,
        sample=tuple(sample),
    )


def folder_records(folder: Path, name: str) -> Iterator[Record]:
    """A record for each file in the folders of the classes, in the order of their names; hidden files are none."""
    for path in _files(folder):
        image = path.relative_to(folder)
        yield Record({"image": image.as_posix(), "label": image.parts[0]}, Origin(f"{name}/{image.as_posix()}", 1))


def folder_sha256(folder: Path) -> tuple[str, int]:
    """sha256 over the names and bytes of the files of all classes, and their bytes together."""
    digest, size = hashlib.sha256(), 0
    for path in _files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\0".encode())
        size += path.stat().st_size
    return digest.hexdigest(), size


def _files(folder: Path) -> Iterator[Path]:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for each in classes:
        yield from sorted(path for path in each.rglob("*") if path.is_file() and not path.name.startswith("."))
