"""How a base lies on the device it is trained on: in as many bytes as there is room for."""

from __future__ import annotations

import json

import torch

from burnish.model.load import Base

DEVICES = ("cuda",)  # whose memory is not the machine's
FLOAT, ROOM = 4, 1.25  # bytes of a weight in float32, and what must be left beside them to learn in


def held_dtype(base: Base, device: torch.device, *, frozen: bool) -> str:
    """ "float32", in which everything is compared and checked, or "bfloat16".

    That is for weights that stay as they are, are saved in bf16 and so lose nothing, and would not fit otherwise; and
    for those that stay whole beside packed ones, which compute in bf16 anyway.
    """
    under = base.under or base
    merged = base.adapter is not None and base.quantization is None  # what it adds to the weights is no bf16 number
    if device.type not in DEVICES or not frozen or merged or not _is_saved_in_bf16(under):
        return "float32"
    if base.quantization is not None:
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if ROOM * FLOAT * base.parameters > device_bytes(device) else "float32"


def device_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process may take."""
    share = getattr(torch.cuda, "get_per_process_memory_fraction", None)
    whole = int(torch.cuda.get_device_properties(device).total_memory)
    return whole if share is None else int(whole * share(device))


def _is_saved_in_bf16(base: Base) -> bool:
    config = json.loads((base.folder / "config.json").read_text(encoding="utf-8"))
    return "bfloat16" in (config.get("dtype"), config.get("torch_dtype"))
