"""What a method learned beside its base, as files: in peft's format, or in our own where peft has none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.method.core import core_of, merged
from burnish.model.adapters import BOTTLENECKS, PEFT_CONFIG, PEFT_WEIGHTS, PROMPT, UNMERGED
from burnish.model.bottleneck import bottleneck_tensors
from burnish.model.load import Base
from burnish.model.prompt import prompt_of
from burnish.storage.durable import write_json
from burnish.storage.tensors import save_tensors

MERGED = ("lora", "qlora", "ia3")  # have a place in the weights they lie beside

BOTTLENECKS_PUT_BACK = """
from safetensors.torch import load_file
from torch.nn import functional as F
learned = load_file("final/bottleneck.safetensors")

def behind(layer):
    parts = ("down.weight", "down.bias", "up.weight", "up.bias")
    down, down_bias, up, up_bias = (learned[layer + ".bottleneck." + part] for part in parts)
    return lambda _, inputs, states: states + F.linear(F.gelu(F.linear(states, down, down_bias)), up, up_bias)

for layer in {{name.split(".bottleneck.")[0] for name in learned}}:
    {model}.get_submodule(layer).register_forward_hook(behind(layer))"""


def keeps_adapter(model: Any, method: str, base: Base) -> bool:
    """Whether the folder will hold what the method learned, and not the whole model.

    What was trained on top of an earlier run's adapter is merged: alone it would have no plain base to lie on. What
    cannot be merged is that earlier run's own, trained further.
    """
    if method in MERGED and base.adapter is not None:
        merged(model)
        return False
    return method in (*MERGED, *UNMERGED)


def describe_base(base: Base, *, adapter: bool) -> Mapping[str, Any]:
    """What a tuned model has to know of the base it came from; of an adapter, the plain one that it lies on."""
    plain = base.under if adapter and base.under is not None else base
    return plain.describe() | {"folder": str(plain.folder.resolve())}


def write_adapter(folder: Path, model: Any, base: Base) -> bool:
    """Writes the prompt or the bottlenecks of a model; False for one that saves itself, whole or as peft's adapter."""
    core = core_of(model)
    prompt, bottlenecks = prompt_of(core), bottleneck_tensors(core)
    if prompt is not None:
        from peft import PromptTuningConfig

        count, width = prompt.weight.shape
        config = PromptTuningConfig(
            task_type="CAUSAL_LM" if base.generates else "FEATURE_EXTRACTION",
            num_virtual_tokens=count,
            token_dim=width,
            num_transformer_submodules=1,
            base_model_name_or_path=str(base.folder),
            inference_mode=True,
        )
        write_json(folder / PEFT_CONFIG, config.to_dict())
        save_tensors(folder / PEFT_WEIGHTS, {PROMPT: prompt.weight})
    elif bottlenecks:
        save_tensors(folder / BOTTLENECKS, bottlenecks)
    return prompt is not None or bool(bottlenecks)


def tidy_adapter(folder: Path) -> None:
    """Brings peft's files in order: without its empty README (ours is USE.md), and with names that it keeps as a set,
    whose order is another in each process, sorted."""
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / PEFT_CONFIG
    if path.is_file():
        settings = json.loads(path.read_text(encoding="utf-8"))
        names = {key: sorted(value) for key, value in settings.items() if _are_names(value)}
        write_json(path, {**settings, **names})


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
