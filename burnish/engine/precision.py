"""In which numbers the model computes: bf16 where the hardware multiplies it natively, else fp32. Weights stay fp32."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import torch

from burnish.settings import settings


@dataclass(frozen=True, slots=True)
class Precision:
    """The chosen precision, and why: recorded in the run."""

    name: Literal["fp32", "bf16"]
    reason: str

    def compute(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        """Context of a forward pass: with bf16, matrix products run in bf16 over fp32 master weights."""
        if self.name == "bf16":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """What `training.precision` means on this device."""
    said = settings().precision
    if wanted == "auto" and said != "auto":
        return Precision(said, "asked for by BURNISH_PRECISION")
    if wanted == "auto":
        if _native_bf16(device):
            return Precision("bf16", f"{device.type} multiplies bf16 natively")
        return Precision("fp32", f"this {device.type} has no native bf16")
    return Precision("bf16" if wanted == "bf16" else "fp32", "asked for by the recipe")


def choose_device() -> torch.device:
    """The accelerator when there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capability.get("avx512_bf16") or capability.get("amx_bf16") or capability.get("bf16"))
