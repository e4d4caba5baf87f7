"""Options of the methods, one model each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from burnish.settings import Options


class HeadOptions(Options):
    """Frozen base, linear head solved to convergence: seconds, no step size to choose."""

    name: Literal["head"] = "head"


class LoraOptions(Options):
    """Low-rank updates beside frozen linear layers (Hu et al. 2021, arXiv:2106.09685)."""

    name: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, le=1024, description="r; adds r * (in + out) weights per linear layer")
    alpha: float = Field(default=32.0, gt=0, description="the update is scaled by alpha / rank")
    target_modules: tuple[str, ...] | None = Field(
        default=None, description="names of the layers that get an update; None: every linear layer of the base"
    )


class FullOptions(Options):
    """Every weight learns."""

    name: Literal["full"] = "full"


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


MethodOptions = Annotated[
    Annotated[HeadOptions | LoraOptions | FullOptions, Field(discriminator="name")], BeforeValidator(_named)
]
