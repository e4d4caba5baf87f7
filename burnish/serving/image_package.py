"""A tuned image model as a folder that plain transformers opens as an image classifier, labels and all.

config.json, model.safetensors     AutoModelForImageClassification with the base's weights and the new head
preprocessor_config.json           the base's own
head.safetensors                   the head once more: weight (C, D), bias (C,), as in every package of a classifier
model.json, USE.md                 what the weights alone do not say; how to open it without burnish
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from burnish.method.lora import Lora
from burnish.model.images import SETTINGS
from burnish.model.load import Base
from burnish.model.pooled import LinearHead, PooledClassifier
from burnish.serving.package import DESCRIPTION
from burnish.storage.durable import published_folder, write_json, write_text
from burnish.storage.tensors import save_tensors

USE = """# Without burnish

Run beside the folder `final`:

```python
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("final").eval()
processor = AutoImageProcessor.from_pretrained("final")
images = [Image.open("your-image.png").convert("RGB")]
with torch.no_grad():
    logits = model(**processor(images, return_tensors="pt")).logits
print([model.config.id2label[i] for i in logits.argmax(dim=1).tolist()])
```
"""


def save_image_package(target: Path, model: PooledClassifier, *, base: Base, described: Mapping[str, Any]) -> None:
    """Publishes the tuned model as `target`, complete with a manifest of its files.

    An adapter is merged: a whole image model is small, and opens everywhere.

    Args:
        described: "task", "method", "labels" and what else the task needs to be built again.
    """
    if described["method"] == Lora.name:
        Lora().merge(model)
    assert isinstance(model.head, LinearHead)
    head = model.head.plain()
    whole = _with_head(model.encoder, head["weight"], head["bias"], described["labels"])
    description = {
        "format": 1,
        **described,
        "adapter": False,
        "pooling": model.base.pooling,
        "normalize": model.base.normalize,
        "base": base.describe() | {"folder": str(base.folder.resolve())},
        "head": "linear",
    }
    with published_folder(target) as folder:
        whole.save_pretrained(folder, safe_serialization=True)
        save_tensors(folder / "head.safetensors", head)
        shutil.copyfile(base.folder / SETTINGS, folder / SETTINGS)
        write_json(folder / DESCRIPTION, description)
        write_text(folder / "USE.md", USE)


@torch.no_grad()
def _with_head(encoder: Any, weight_CD: torch.Tensor, bias_C: torch.Tensor, labels: Sequence[str]) -> Any:
    """The classifier of transformers around the encoder, with this head."""
    from transformers import AutoModelForImageClassification

    config = type(encoder.config).from_dict(encoder.config.to_dict())
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    whole: Any = AutoModelForImageClassification.from_config(config)
    setattr(whole, whole.base_model_prefix, encoder)
    linear = [part for part in whole.classifier.modules() if isinstance(part, nn.Linear)][-1]
    linear.weight.copy_(weight_CD)
    linear.bias.copy_(bias_C)
    return whole.eval()
