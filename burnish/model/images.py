"""Image models: which families there are, and how their images are made ready: size, scale, mean and deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import ModelError
from burnish.model.intake import excerpt_of

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

SETTINGS = "preprocessor_config.json"
FAMILIES = {  # model_type in config.json -> where the vector of an image is: the first token, or the base's own pooling
    "vit": "first",
    "resnet": "own",
    "convnext": "own",
    "mobilenet_v1": "own",
    "mobilenet_v2": "own",
}
_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")  # what burnish does itself
_CONVNEXT_WHOLE = 384  # from this size on ConvNeXt and ResNet see the whole image, squeezed


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes what the base reads, the steps in this order.

    Attributes:
        resize: (height, width) of the whole image, or the length of its shorter side; None: as it is.
        crop: (height, width) cut from the middle, black around it where it is smaller; None: nothing is cut.
        resample: Pillow's number of the filter.
        scale: factor of the values 0..255.
        mean, deviation: of each channel, of the scaled values.
    """

    resize: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the base reads."""
        size = self.crop or self.resize
        assert isinstance(size, tuple), "settings that leave images of different sizes are refused"
        return size

    def fitted(self, image: Image) -> np.ndarray[Any, Any]:
        """(H, W, 3) uint8: an RGB image in the size of the base, not scaled yet."""
        import numpy as np
        from PIL.Image import Resampling

        if self.resize is not None:
            height, width = _resized(image, self.resize)
            image = image.resize((width, height), resample=Resampling(self.resample))
        if self.crop is not None:
            top, left = (image.height - self.crop[0]) // 2, (image.width - self.crop[1]) // 2
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        return np.array(image, dtype=np.uint8)

    def normalized(self, pixels_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) as the base reads them, from values in 0..255."""
        mean, deviation = (pixels_BCHW.new_tensor(v)[:, None, None] for v in (self.mean, self.deviation))
        return (pixels_BCHW * self.scale - mean) / deviation


def _resized(image: Image, resize: tuple[int, int] | int) -> tuple[int, int]:
    """(height, width); a shorter side keeps the ratio of the sides."""
    if isinstance(resize, tuple):
        return resize
    longer = int(resize * max(image.size) / min(image.size))
    return (longer, resize) if image.width <= image.height else (resize, longer)


def is_image_model(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of an image family."""
    return config.get("model_type") in FAMILIES


def vector_width(folder: Path) -> int:
    """D, numbers of the vector that a base of an image family makes of an image."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return _WIDTHS[config.model_type](config)


def _of_mobilenet_v1(config: Any) -> int:
    return max(int(1024 * config.depth_multiplier), int(config.min_depth))


def _of_mobilenet_v2(config: Any) -> int:
    from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import apply_depth_multiplier

    wide = config.finegrained_output and config.depth_multiplier < 1.0
    return 1280 if wide else int(apply_depth_multiplier(config, 1280))


_WIDTHS: Mapping[str, Callable[[Any], int]] = {
    "vit": lambda config: int(config.hidden_size),
    "resnet": lambda config: int(config.hidden_sizes[-1]),
    "convnext": lambda config: int(config.hidden_sizes[-1]),
    "mobilenet_v1": _of_mobilenet_v1,
    "mobilenet_v2": _of_mobilenet_v2,
}


def read_preprocessing(folder: Path) -> Preprocessing:
    """The settings beside a model's weights, as transformers understands them, its defaults included.

    Raises:
        ModelError: [model/no-preprocessing] without such a file; [model/unknown-preprocessing] for steps that burnish
            does not do, or that leave images of different sizes; [model/bad-file].
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise ModelError(
            "model/no-preprocessing",
            f"there is no {SETTINGS} here, so the size and scale of the images are not known",
            where=str(folder),
            hint="put the file beside the weights; the model's page has it",
        )
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        settings = processor.to_dict()
        return _understood(settings, path)
    except ModelError:
        raise
    except Exception as error:  # what transformers raises over settings of a strange form has no class of its own
        raise ModelError("model/bad-file", f"not settings of images: {excerpt_of(error)}", where=str(path)) from error


def _understood(settings: Mapping[str, Any], path: Path) -> Preprocessing:
    others = [name for name, on in settings.items() if name.startswith("do_") and on and name not in _STEPS]
    size = settings["size"] if settings.get("do_resize") else None
    crop = settings["crop_size"] if settings.get("do_center_crop") else None
    resize = None if size is None else _size_of(size)
    if "crop_pct" in settings and isinstance(resize, int):  # ConvNeXt's own way, and ResNet's
        square = (resize, resize)
        resize, crop = (square, None) if resize >= _CONVNEXT_WHOLE else (int(resize / settings["crop_pct"]), square)
    cut = _size_of(crop) if isinstance(crop, Mapping) else crop
    if others or not isinstance(cut or resize, tuple):
        what = ", ".join(others) or "a size that differs from image to image"
        raise ModelError(
            "model/unknown-preprocessing",
            f"asks for {what}",
            where=str(path),
            known=_STEPS,
            hint="choose a base whose images have one size",
        )
    scaled, normal = bool(settings.get("do_rescale")), bool(settings.get("do_normalize"))
    return Preprocessing(
        resize=resize,
        crop=cut if isinstance(cut, tuple) else None,
        resample=int(settings["resample"]),
        scale=float(settings["rescale_factor"]) if scaled else 1.0,
        mean=_three(settings["image_mean"]) if normal else (0.0, 0.0, 0.0),
        deviation=_three(settings["image_std"]) if normal else (1.0, 1.0, 1.0),
    )


def _size_of(size: Mapping[str, Any]) -> tuple[int, int] | int:
    if size.get("height") and size.get("width"):
        return int(size["height"]), int(size["width"])
    return int(size["shortest_edge"])


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
