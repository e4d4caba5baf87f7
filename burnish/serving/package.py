"""The tuned model as a folder: final/ opens in plain transformers (and peft), and in burnish with its labels.

model.json              task, labels, pooling, base: what the weights alone do not say
config.json, model.safetensors          the base, for method full and head
adapter_config.json, adapter_model.safetensors     its adapter, for the methods lora, ia3 and prompt-tuning
bottleneck.safetensors                             the same for method adapter, which peft does not know
head.safetensors        weight (C, D), bias (C,): logits = pooled @ weight.T + bias
tokenizer.json ...      the base's own
USE.md                  how to open it without burnish
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from burnish.engine.layout import arguments_of
from burnish.errors import ModelError
from burnish.model.adapters import adapter_weights
from burnish.model.find import find_base, require_trained_on
from burnish.model.load import TOKENIZER_FILES, Base, load_encoder
from burnish.model.options import ModelOptions
from burnish.model.pooled import LinearHead, PooledClassifier, PooledEncoder
from burnish.serving.adapter_files import describe_base, keeps_adapter, tidy_adapter, write_adapter
from burnish.serving.use import use_without_burnish
from burnish.storage.durable import published_folder, require_undamaged, write_json, write_text
from burnish.storage.tensors import load_tensors, save_tensors

DESCRIPTION = "model.json"
HeadBuilder = Callable[[int, int], nn.Module]  # (width, classes) -> module from (B, D) to (B, C)


@dataclass(slots=True)
class Package:
    """A tuned model with a head, as loaded from its folder."""

    model: PooledClassifier | PooledEncoder  # an encoder alone where the vectors are the answer
    description: Mapping[str, Any]
    base: Base


def save_package(target: Path, model: PooledClassifier, *, base: Base, described: Mapping[str, Any]) -> None:
    """Publishes the tuned model as `target`, complete with a manifest of its files.

    Args:
        described: "task", "method", "max_length" and what else the task needs to be built again.
    """
    head_type = type(model.head)
    adapter = keeps_adapter(model, described["method"], base)
    description = {
        "format": 1,
        **described,
        "adapter": adapter,
        "token_types": "token_type_ids" in arguments_of(model.encoder),
        "pooling": model.base.pooling,
        "normalize": model.base.normalize,
        "base": describe_base(base, adapter=adapter),
        "head": "linear" if head_type is LinearHead else f"{head_type.__module__}:{head_type.__qualname__}",
    }
    core: Any = model.core
    with published_folder(target) as folder:
        if not write_adapter(folder, model, base):
            core.save_pretrained(folder, safe_serialization=True)
            tidy_adapter(folder)
        head = model.head.plain() if type(model.head) is LinearHead else model.head.state_dict()
        save_tensors(folder / "head.safetensors", head)
        for path in base.folder.iterdir():
            if path.is_file() and (path.name in TOKENIZER_FILES or path.suffix == ".model"):
                shutil.copyfile(path, folder / path.name)
        write_json(folder / DESCRIPTION, description)
        write_text(folder / "USE.md", use_without_burnish(description))


def load_package(folder: Path, *, runs: Path, head: HeadBuilder | None = None) -> Package:
    """Opens a tuned model; every byte is checked against its manifest first.

    Args:
        head: builds the head of a model trained with one's own.

    Raises:
        DamagedStoreError: [storage/damaged].
        ModelError: [model/other-base] when the base under an adapter is not the one it was trained on;
            [model/own-head] when the model needs a head that was not given.
    """
    require_undamaged(folder)
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    base = base_of(folder, description, runs)
    encoder = load_encoder(base, unaltered=True)
    pooling, normalize = (description.get(name, getattr(base, name)) for name in ("pooling", "normalize"))
    if "head" not in description:
        return Package(PooledEncoder(encoder, pooling=pooling, normalize=normalize).eval(), description, base)
    plain = load_tensors(folder / "head.safetensors")
    if description["head"] == "linear":
        linear = LinearHead(plain["weight"].shape[1], plain["weight"].shape[0], scale=1.0)
        linear.set_(plain["weight"], plain["bias"])
        module: nn.Module = linear
    elif head is None:
        raise ModelError(
            "model/own-head",
            f"this model was trained with its own head, {description['head']}",
            where=str(folder),
            hint="give it again: burnish.load(run, head=YourHead)",
        )
    else:
        module = head(description["base"]["width"], len(description["labels"]))
        try:
            module.load_state_dict(plain)
        except RuntimeError as error:
            raise ModelError(
                "model/own-head",
                f"the given head does not fit the stored one, {description['head']}",
                where=str(folder),
                hint="give the head that the model was trained with: burnish.load(run, head=YourHead)",
            ) from error
    model = PooledClassifier(encoder, module, pooling=pooling, normalize=normalize)
    return Package(model.eval(), description, base)


def base_of(folder: Path, description: Mapping[str, Any], runs: Path) -> Base:
    """The base under a packaged model, or the model itself where it is whole."""
    known = description["base"]
    adapter = adapter_weights(folder) is not None
    options = ModelOptions(base=str(folder.resolve()), max_length=description["max_length"])
    if adapter:
        name = known["name"] if not Path(known["folder"]).is_dir() else known["folder"]
        options = ModelOptions(base=name, max_length=description["max_length"])
    found = find_base(options, recipe_folder=Path(), runs=runs)
    if adapter:
        require_trained_on(found, known)
    fields = {name: getattr(found, name) for name in Base.__dataclass_fields__}
    fields |= {"pooling": known["pooling"], "normalize": known["normalize"], "adapter": folder if adapter else None}
    fields["under"] = found if adapter else None
    fields["quantization"] = known.get("quantization") if adapter else None
    return Base(**fields)
