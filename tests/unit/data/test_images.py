"""Images as they come: read by what they are, turned upright, refused with a reason when they cannot be shown truly."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from burnish.data import images
from burnish.data.images import image_path, is_image_name, looked_at, read_image
from burnish.data.records import RefusedRowError
from burnish.types import Example, Origin, Problem

RED, BLUE = (255, 0, 0), (0, 0, 255)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def refusal(path: Path) -> RefusedRowError:
    with pytest.raises(RefusedRowError) as caught:
        read_image(path)
    return caught.value


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_modes_without_loss_become_rgb_silently(tmp_path: Path, mode: str) -> None:
    picture = read_image(saved(tmp_path / "a.png", Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode)))
    assert (picture.image.mode, picture.image.size, picture.changes) == ("RGB", (3, 2), ())
    assert np.asarray(picture.image).min() == 255


def test_transparent_parts_are_shown_on_white_and_told(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (*RED, 0))
    picture = read_image(saved(tmp_path / "a.png", image))
    assert np.asarray(picture.image).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert picture.changes == ("transparent parts, shown on white",)


def test_an_opaque_alpha_channel_loses_nothing(tmp_path: Path) -> None:
    assert read_image(saved(tmp_path / "a.png", Image.new("RGBA", (2, 1), (*RED, 255)))).changes == ()


def test_cmyk_becomes_rgb_and_is_told(tmp_path: Path) -> None:
    picture = read_image(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0))))
    assert picture.changes == ("CMYK, made RGB without its colour profile",)
    assert np.asarray(picture.image)[0, 0].tolist() == pytest.approx(RED, abs=3)


def test_a_name_that_lies_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(tmp_path / "a.jpg", Image.new("RGB", (8, 8))).read_bytes())
    assert read_image(tmp_path / "a.png").changes == ("a name that does not say what is in it (JPEG)",)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (2, 3)), (6, (0, 2)), (8, (3, 0))])
def test_exif_turns_the_image_upright(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (4, 3), BLUE)
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[274] = orientation
    shown = np.asarray(read_image(saved(tmp_path / "a.png", image, exif=exif)).image)
    rows, columns = np.nonzero((shown == RED).all(axis=2))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [corner]


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_values_of_unknown_scale_are_refused(tmp_path: Path, mode: str) -> None:
    error = refusal(saved(tmp_path / "a.tif", Image.new(mode, (2, 2))))
    assert error.code == "data/image-mode"
    assert f'"{mode}"' in error.reason
    assert "8 bits" in error.reason


def test_several_images_in_one_file_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (2, 2), value) for value in (0, 100, 200)]
    error = refusal(saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:]))
    assert (error.code, error.reason) == ("data/animated-image", "3 images in one file; save the one that is meant")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:-800])
    assert refusal(path).code == "data/bad-image"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"PK\x03\x04"])
def test_bytes_that_are_no_image_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    error = refusal(tmp_path / "a.png")
    assert error.code == "data/bad-image"
    assert "PNG, JPEG" in error.reason


def test_size_is_looked_at_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    error = refusal(saved(tmp_path / "a.png", Image.new("L", (10, 10))))
    assert (error.code, error.reason) == ("data/image-too-large", "10 x 10 pixels, over 99")
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 10)
    assert refusal(tmp_path / "a.png").reason == "a file of more than 10 bytes"


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "b/../../a.png", "C:\\a.png", "..\\a.png", "a\0.png"])
def test_a_path_must_stay_below_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedRowError) as caught:
        image_path(tmp_path, name)
    assert caught.value.code == "data/image-outside"


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "secret.png", Image.new("L", (2, 2)))
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(RefusedRowError, match="by a link") as caught:
        image_path(tmp_path / "list", "a.png")
    assert caught.value.code == "data/image-outside"


@pytest.mark.parametrize(
    ("name", "code"), [("absent.png", "data/missing-image"), ("data:image/png;base64,AA==", "data/embedded-image")]
)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(RefusedRowError) as caught:
        image_path(tmp_path, name)
    assert caught.value.code == code


def test_rows_get_path_and_hashes_or_become_problems(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", Image.new("RGBA", (20, 20), (*RED, 9)))
    rows = [
        Example({"image": name, "label": "x"}, Origin("list.csv", line)) for line, name in enumerate(["a.png", "b"])
    ]
    changes: Counter[str] = Counter()
    good, bad = looked_at(rows, tmp_path, changes)
    assert isinstance(good, Example)
    assert good.row["image"] == str(tmp_path / "a.png")
    assert (len(good.row["sha256"]), len(good.row["dhash"]), good.row["label"]) == (64, 64, "x")
    assert bad == Problem(
        "data/missing-image", "there is no such file", Origin("list.csv", 1), column="image", excerpt="b"
    )
    assert changes == {"transparent parts, shown on white": 1}


def test_names_of_images() -> None:
    assert is_image_name("a/B.JPG")
    assert not is_image_name("a.csv")


@pytest.mark.real_data
def test_public_bad_images_are_read_or_refused_without_a_warning(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "bad_inputs" / "images.zip") as archive:
        archive.extractall(tmp_path)
    codes: Counter[str] = Counter()
    lines = []
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        try:
            picture = read_image(path)
        except RefusedRowError as refused:
            codes[refused.code] += 1
            lines.append(refused.reason.count("\n"))
        else:
            codes["read"] += 1
            assert picture.image.mode == "RGB"
    assert not any(lines), "a reason is one line"
    assert codes == {
        "data/bad-image": 30,
        "data/image-mode": 4,
        "data/animated-image": 4,
        "data/image-too-large": 1,
        "read": 29,
    }


@pytest.mark.real_data
def test_photographs_are_upright(shared_data: Path, tmp_path: Path) -> None:
    """Pillow's own photograph in all orientations shows the same thing."""
    with zipfile.ZipFile(shared_data / "bad_inputs" / "images.zip") as archive:
        shown = []
        for number in range(2, 9):
            path = tmp_path / f"{number}.jpg"
            path.write_bytes(archive.read(f"Tests/images/hopper_orientation_{number}.jpg"))
            shown.append(np.asarray(read_image(path).image, dtype=float))
    for other in shown[1:]:
        assert np.abs(other - shown[0]).mean() < 6  # of 255: JPEG rounds each block anew
