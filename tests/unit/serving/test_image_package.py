"""A tuned image model as a folder: the same logits in burnish and in plain transformers, with its labels."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from burnish.data.images import read_image
from burnish.errors import DataProblemError
from burnish.method.lora import Lora
from burnish.model.find import find_base
from burnish.model.images import FAMILIES, read_preprocessing
from burnish.model.load import load_encoder
from burnish.model.options import ModelOptions
from burnish.serving.image_package import save_image_package
from burnish.serving.predict import Predictor
from burnish.storage.durable import damage_of
from burnish.task.image_classification import ImageClassification

MakeBase = Callable[..., Path]
LABELS = ("blue", "green", "red")


def packaged(folder: Path, base_folder: Path, method: str = "full") -> Path:
    """A package of a model whose head is random."""
    base = find_base(ModelOptions(base=str(base_folder)), recipe_folder=Path(), runs=Path("absent"))
    task = ImageClassification(read_preprocessing(base.folder), LABELS)
    torch.manual_seed(1)
    model: Any = task.build(load_encoder(base), width=base.width, pooling=base.pooling, normalize=base.normalize)
    if method == "lora":
        Lora(rank=2).attach(model)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
    described = {"task": task.name, "method": method, **task.describe()}
    save_image_package(folder / "final", model.eval(), base=base, described=described)
    return folder / "final"


@pytest.mark.parametrize(("family", "method"), [*((name, "full") for name in FAMILIES), ("vit", "lora")])
def test_transformers_opens_it_as_an_image_classifier(
    make_image_base: MakeBase, image_folder: Path, tmp_path: Path, family: str, method: str
) -> None:
    final = packaged(tmp_path, make_image_base(family), method)
    assert damage_of(final) is None
    model, about = AutoModelForImageClassification.from_pretrained(final, output_loading_info=True)
    assert not about["missing_keys"]
    assert not about["unexpected_keys"]
    assert model.config.id2label == dict(enumerate(LABELS))
    processor = AutoImageProcessor.from_pretrained(final)
    paths = [str(path) for path in sorted(image_folder.glob("*/*.png"))[::30]]
    with torch.no_grad():
        shown = processor([read_image(Path(path)).image for path in paths], return_tensors="pt")
        probabilities = model.eval()(**shown).logits.softmax(1)
    predicted = Predictor(final, runs=Path("absent"), precision="fp32").predict(paths)
    for path, wanted, found in zip(paths, probabilities, predicted, strict=True):
        assert found["image"] == path
        assert found["label"] == LABELS[int(wanted.argmax())]
        assert found["probability"] == pytest.approx(float(wanted.max()), abs=1e-5)


def test_the_script_of_its_page_runs(image_base: Path, image_folder: Path, tmp_path: Path) -> None:
    final = packaged(tmp_path, image_base)
    (script,) = re.findall(r"```python\n(.*?)```", (final / "USE.md").read_text(encoding="utf-8"), re.DOTALL)
    path = next((image_folder / "red").iterdir())
    script = script.replace("your-image.png", str(path))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    predicted = Predictor(final, runs=Path("absent"), precision="fp32").predict([str(path)])
    assert done.stdout.strip() == str([predicted[0]["label"]])


def test_what_is_no_image_is_refused_by_its_number(image_base: Path, image_folder: Path, tmp_path: Path) -> None:
    predictor = Predictor(packaged(tmp_path, image_base), runs=Path("absent"))
    path = str(next((image_folder / "red").iterdir()))
    with pytest.raises(DataProblemError) as caught:
        predictor.predict([path, "absent.png"])
    assert (caught.value.code, caught.value.where) == ("predict/bad-image", "item 2")
