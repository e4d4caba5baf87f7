"""Images: opened by what they are and not by their name, checked to the last byte, upright and in RGB.

A row keeps the path of its image, the sha256 of its file and a hash of what it shows, never the pixels. What cannot be
shown truly is refused: a guess about a 16 bit scale or about which frame is meant would be learned from.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from burnish.data.compressed import needs_package
from burnish.data.image_hash import difference_hash
from burnish.data.records import Record, RefusedRowError
from burnish.data.row_format import IMAGES, RowFormat
from burnish.errors import excerpt
from burnish.types import Example, Problem

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {  # of the formats that are read
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
}
MAX_PIXELS = 50_000_000  # 150 MB of memory in RGB; looked at before anything is decoded
MAX_FILE_BYTES = 256 * 2**20
_OPAQUE = {"1", "L", "RGB", "P", "YCbCr"}  # what becomes RGB without loss
_WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_WHITE = (255, 255, 255)


def examples_of(
    rows: RowFormat,
    records: Iterable[Record | Problem],
    source: Path,
    *,
    kept: Sequence[str] = (),
    changes: Counter[str] | None = None,
) -> Iterator[Example | Problem]:
    """The examples of a source's records; images are looked at.

    Args:
        source: the file or folder; images are named relative to its folder.
        kept: further columns of the file that the recipe names.
        changes: told how many images had to be changed, by kind.
    """
    examples = rows.examples(records, kept)
    if rows.name != IMAGES:
        return examples
    return looked_at(examples, source if source.is_dir() else source.parent, Counter() if changes is None else changes)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as it is learned from.

    Attributes:
        image: upright, RGB, 8 bits.
        sha256: of the file's bytes.
        changes: what was done to show it so, in words; empty when nothing was lost.
    """

    image: Image
    sha256: str
    changes: tuple[str, ...]


def looked_at(items: Iterable[Example | Problem], folder: Path, changes: Counter[str]) -> Iterator[Example | Problem]:
    """The rows with their images looked at: "image" is the path, "sha256" the file's, "dhash" that of what it shows.

    Args:
        items: rows whose "image" is a path below `folder`.
        changes: told how many images had to be changed, by kind.

    Raises:
        DataReadError: [data/needs-package] when Pillow is not installed.
    """
    for item in items:
        if isinstance(item, Problem):
            yield item
            continue
        name = str(item.row["image"])
        try:
            path = image_path(folder, name)
            picture = read_image(path)
        except RefusedRowError as refused:
            yield Problem(refused.code, refused.reason, item.origin, column="image", excerpt=excerpt(name))
            continue
        changes.update(picture.changes)
        seen = {"image": str(path), "sha256": picture.sha256, "dhash": difference_hash(picture.image)}
        yield replace(item, row={**item.row, **seen})


def is_image_name(name: str) -> bool:
    """Whether a file is called like an image."""
    return name.lower().endswith(tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes))


def image_path(folder: Path, name: str) -> Path:
    """Where an image of a list or folder is.

    Raises:
        RefusedRowError: [data/image-outside] for a path that leaves the folder, be it by a link; [data/missing-image];
            [data/embedded-image] for bytes instead of a path.
    """
    if name.startswith("data:"):
        raise RefusedRowError("data/embedded-image", "the row holds the image itself, not the path of a file")
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    if absolute or ".." in parts or "\0" in name:
        raise RefusedRowError("data/image-outside", "the path is not one below the folder of the list")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RefusedRowError("data/image-outside", "the path leads out of the folder of the list by a link")
    if not path.is_file():
        raise RefusedRowError("data/missing-image", "there is no such file")
    return path


def read_image(path: Path) -> Picture:
    """The image of a file, decoded whole.

    Raises:
        RefusedRowError: [data/bad-image] for bytes that are no whole image, [data/image-too-large],
            [data/animated-image], [data/image-mode] for values whose black and white are not known.
        DataReadError: [data/needs-package] when Pillow is not installed.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise RefusedRowError("data/image-too-large", f"a file of more than {MAX_FILE_BYTES:,} bytes")
    picture, kind = _picture(path.read_bytes(), str(path))
    if path.suffix.lower() in SUFFIXES[kind]:
        return picture
    return replace(picture, changes=(*picture.changes, f"a name that does not say what is in it ({kind})"))


def image_of(content: bytes) -> Picture:
    """The image that these bytes of a file are, decoded whole.

    Raises:
        RefusedRowError, DataReadError: as `read_image` does.
    """
    if len(content) > MAX_FILE_BYTES:
        raise RefusedRowError("data/image-too-large", f"a file of more than {MAX_FILE_BYTES:,} bytes")
    return _picture(content, "image")[0]


def _picture(content: bytes, name: str) -> tuple[Picture, str]:
    """The image, and its format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of sizes; both are dealt with here
        image, kind = _decoded(content, name)
        shown, changes = _in_rgb(image)
    return Picture(shown, hashlib.sha256(content).hexdigest(), changes), kind


def _decoded(content: bytes, name: str) -> tuple[Image, str]:
    """The upright image in its own mode, and its format."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise needs_package(name, "images", "pillow") from None
    try:
        image = Image.open(io.BytesIO(content), mode="r", formats=tuple(SUFFIXES))
        width, height = image.size
        frames = getattr(image, "n_frames", 1) if width * height <= MAX_PIXELS else 1
    except Image.DecompressionBombError:
        raise RefusedRowError("data/image-too-large", f"an image of more than {MAX_PIXELS:,} pixels") from None
    except Exception:  # a decoder raises anything over bytes that are not what they say
        known = ", ".join(SUFFIXES)
        raise RefusedRowError("data/bad-image", f"not an image, or a damaged one; {known} are read") from None
    if width * height > MAX_PIXELS:
        raise RefusedRowError("data/image-too-large", f"{width:,} x {height:,} pixels, over {MAX_PIXELS:,}")
    if frames > 1:
        raise RefusedRowError("data/animated-image", f"{frames:,} images in one file; save the one that is meant")
    kind = str(image.format)
    try:
        image.load()
        return ImageOps.exif_transpose(image), kind
    except Exception as error:
        raise RefusedRowError("data/bad-image", f"cannot be decoded: {excerpt(str(error))}") from None


def _in_rgb(image: Image) -> tuple[Image, tuple[str, ...]]:
    """The image in RGB, and what was lost on the way."""
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _on_white(image)
    if image.mode in _OPAQUE:
        return image.convert("RGB"), ()
    if image.mode == "CMYK":
        return image.convert("RGB"), ("CMYK, made RGB without its colour profile",)
    reason = f'values of the mode "{image.mode}": which of them is black, and which white, is not known'
    raise RefusedRowError("data/image-mode", f"{reason}; save it with 8 bits")


def _on_white(image: Image) -> tuple[Image, tuple[str, ...]]:
    from PIL import Image

    layered = image.convert("RGBA")
    shown = Image.new("RGB", layered.size, _WHITE)
    shown.paste(layered, mask=layered.getchannel("A"))
    seen_through = layered.getchannel("A").getextrema() != (255, 255)
    return shown, ("transparent parts, shown on white",) if seen_through else ()
