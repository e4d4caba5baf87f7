"""What an earlier run learned beside its base, put back on it: multiplied in where that can be.

adapter_config.json, adapter_model.safetensors      peft's LoRA, IA3 or prompt
bottleneck.safetensors                              bottlenecks, which peft does not know
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.model.libraries import open_peft, with_packed_layers, without_packed_layers
from burnish.storage.tensors import load_tensors

if TYPE_CHECKING:
    from torch.nn import Module

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BOTTLENECKS = "bottleneck.safetensors"
PROMPT = "prompt_embeddings"  # the only tensor of a prompt in peft's format
KINDS = {"LORA": "lora", "IA3": "ia3", "PROMPT_TUNING": "prompt-tuning"}  # peft's name -> the method's
UNMERGED = ("adapter", "prompt-tuning")  # have no place in the plain architecture


def adapter_weights(folder: Path) -> Path | None:
    """The file of a tuned model's folder that holds an adapter; None when the model is whole."""
    return next((folder / name for name in (PEFT_WEIGHTS, BOTTLENECKS) if (folder / name).is_file()), None)


def adapter_kind(folder: Path) -> str:
    """The method an adapter was made with: lora (or qlora), ia3, adapter or prompt-tuning."""
    if (folder / BOTTLENECKS).is_file():
        return "adapter"
    peft_type = json.loads((folder / PEFT_CONFIG).read_text(encoding="utf-8"))["peft_type"]
    return KINDS[peft_type]


def with_adapter(model: Module, folder: Path, *, quantized: bool) -> Module:
    """The model with the adapter of a folder: merged, or in its place where nothing can be merged."""
    kind = adapter_kind(folder)
    if kind == "adapter":
        from burnish.model.bottleneck import put_bottlenecks

        put_bottlenecks(model, load_tensors(folder / BOTTLENECKS))
        return model
    if kind == "prompt-tuning":
        from burnish.model.prompt import add_prompt

        vectors = load_tensors(folder / PEFT_WEIGHTS)[PROMPT]
        add_prompt(model, len(vectors)).load_state_dict({"weight": vectors})
        return model
    open_peft()
    from peft import PeftModel

    from burnish.model.quantized import merged_and_whole

    with (
        with_packed_layers() if quantized else without_packed_layers(),
        warnings.catch_warnings(),  # peft asks transformers for a property by its old name
    ):
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted = PeftModel.from_pretrained(model, folder)
    merged: Module = merged_and_whole(adapted) if quantized else adapted.merge_and_unload()
    return merged
