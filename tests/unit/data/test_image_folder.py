"""A folder of images: classes, parts, fingerprints, and the rows that come of it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from burnish.data.formats import detect_format
from burnish.data.image_folder import folder_parts, folder_records, folder_sha256, folder_shape
from burnish.data.options import DataOptions
from burnish.data.prepare import PreparedData, prepare
from burnish.data.row_format import IMAGES, RowFormat
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataReadError
from burnish.types import Split

WriteImages = Callable[..., Path]


def prepared(folder: Path, **options: object) -> PreparedData:
    shape = inspect_source(folder, DataOptions(train="x"))
    found = detect_format(shape.columns, shape.sample)
    assert isinstance(found, RowFormat)
    assert found.name == IMAGES
    chosen = DataOptions(train=str(folder), **options)  # type: ignore[arg-type]
    return prepare(chosen, {"label": str}, base_folder=Path(), seed=0, row_format=found)


def test_each_file_is_a_row_with_its_folder_as_label(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/deep/1.png", "a/.hidden", ".git/x", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    records = list(folder_records(tmp_path, "pics"))
    assert [record.values for record in records] == [
        {"image": "a/deep/1.png", "label": "a"},
        {"image": "b/2.png", "label": "b"},
    ]
    assert [str(record.origin) for record in records] == ["pics/a/deep/1.png:1", "pics/b/2.png:1"]


def test_a_folder_is_read_through_the_door_of_all_formats(image_folder: Path) -> None:
    shape = inspect_source(image_folder, DataOptions(train="x"), name="pics")
    assert (shape.format, shape.columns, shape.name) == ("image-folder", ("image", "label"), "pics")
    assert shape.describe() == "pics: a folder of images, one folder per class, with image, label"
    assert len(list(read_source(image_folder, shape, DataOptions(train="x")))) == 120


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    with pytest.raises(DataReadError) as caught:
        folder_shape(tmp_path, "pics")
    assert (caught.value.code, caught.value.where) == ("data/no-classes", "pics")
    assert "FOLDER/CLASS/FILE" in str(caught.value.hint)


def test_parts_are_found_by_their_usual_names(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / name).mkdir()
    assert folder_parts(tmp_path) == {
        Split.TRAIN: tmp_path / "train",
        Split.VALIDATION: tmp_path / "val",
        Split.TEST: tmp_path / "test",
    }
    (tmp_path / "train").rmdir()
    assert folder_parts(tmp_path) == {}


def test_the_fingerprint_is_that_of_names_and_bytes(write_images: WriteImages) -> None:
    one, other = write_images(12), write_images(12)
    assert folder_sha256(one) == folder_sha256(other)
    next((other / "red").iterdir()).rename(other / "red" / "z.png")
    assert folder_sha256(one)[0] != folder_sha256(other)[0]


def test_images_are_split_checked_and_counted(write_images: WriteImages) -> None:
    folder = write_images(60)
    first = sorted((folder / "red").iterdir())[0]
    shutil.copy(first, folder / "red" / "again.png")
    shutil.copy(first, folder / "blue" / "wrong.png")
    (folder / "green" / "broken.png").write_bytes(b"no image")
    data = prepared(folder)
    assert data.labels == ("blue", "green", "red")
    assert sum(data.sizes.values()) == 60
    codes = [(problem.code, Path(problem.origin.file).name) for problem in data.problems]
    assert sorted(codes) == [
        ("data/bad-image", "broken.png"),
        ("data/conflicting-label", "wrong.png"),
        ("data/duplicate", "again.png"),
    ]
    assert "the same image" in next(p.reason for p in data.problems if p.code == "data/duplicate")


def test_the_parts_of_a_folder_are_taken(write_images: WriteImages, tmp_path: Path) -> None:
    for seed, (name, count) in enumerate({"train": 30, "valid": 12, "test": 9}.items()):
        shutil.copytree(write_images(count, seed=seed), tmp_path / name)
    data = prepared(tmp_path)
    assert data.sizes == {Split.TRAIN: 30, Split.VALIDATION: 12, Split.TEST: 9}
    assert list(data.files) == [str(tmp_path / name) for name in ("train", "valid", "test")]
    other = prepared(tmp_path, test=str(write_images(15, seed=9)))
    assert other.sizes == {Split.TRAIN: 30, Split.VALIDATION: 12, Split.TEST: 15}


def test_the_split_is_that_of_the_bytes_wherever_they_lie(write_images: WriteImages, tmp_path: Path) -> None:
    folder = write_images(40)
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert prepared(folder).split_fingerprint == prepared(moved).split_fingerprint


def test_near_duplicates_stay_in_one_part(write_images: WriteImages) -> None:
    from PIL import Image

    folder = write_images(60)
    random = np.random.default_rng(0)
    for path in sorted(folder.glob("*/*.png")):
        noise = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        image = noise.resize((48, 48), Image.Resampling.BICUBIC)
        image.save(path)
        image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC).save(path.with_suffix(".bmp"))
    data = prepared(folder)
    for rows in data.splits.values():
        names = Counter(Path(example.row["image"]).stem for example in rows)
        assert set(names.values()) == {2}


def test_labels_are_mapped(write_images: WriteImages) -> None:
    assert prepared(write_images(30), label_map={"red": "warm"}).labels == ("blue", "green", "warm")
