"""Options of the methods, one model each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from burnish.settings import Options

MethodName = Literal["head", "prompt-tuning", "ia3", "adapter", "lora", "qlora", "freeze", "full"]


class HeadOptions(Options):
    """Frozen base, linear head solved to convergence: seconds, no step size to choose."""

    name: Literal["head"] = "head"


class PromptTuningOptions(Options):
    """Learned vectors before every text; the base stays as it is (Lester et al. 2021, arXiv:2104.08691)."""

    name: Literal["prompt-tuning"] = "prompt-tuning"
    tokens: int = Field(default=20, ge=1, le=1024, description="vectors before every text; each costs a token's time")


class IA3Options(Options):
    """One factor for each key, value and inner feed-forward activation (Liu et al. 2022, arXiv:2205.05638)."""

    name: Literal["ia3"] = "ia3"


class AdapterOptions(Options):
    """A narrow layer behind each attention and feed-forward (Houlsby et al. 2019, arXiv:1902.00751)."""

    name: Literal["adapter"] = "adapter"
    size: int = Field(default=64, ge=1, le=4096, description="numbers in the narrow layer; adds 2 * size * width each")


class LoraOptions(Options):
    """Low-rank updates beside frozen linear layers (Hu et al. 2021, arXiv:2106.09685)."""

    name: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, le=1024, description="r; adds r * (in + out) weights per linear layer")
    alpha: float = Field(default=32.0, gt=0, description="the update is scaled by alpha / rank")
    target_modules: tuple[str, ...] | None = Field(
        default=None, description="names of the layers that get an update; None: every linear layer of the base"
    )
    rank_stabilized: bool = Field(
        default=False, description="rsLoRA: the update is scaled by alpha / sqrt(rank), for ranks above 64"
    )
    decomposed: bool = Field(
        default=False, description="DoRA: length and direction of the weights' columns learn apart; slower"
    )
    layers: int | None = Field(
        default=None, ge=1, description="updates in so many of the last layers only; null: in all of them"
    )


class QLoraOptions(LoraOptions):
    """LoRA beside a base in four bits: NF4 with double quantisation (Dettmers et al. 2023, arXiv:2305.14314)."""

    name: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    decomposed: Literal[False] = Field(default=False, description="not beside four-bit weights")


class FreezeOptions(Options):
    """The last layers of the base learn, the others stay as they are."""

    name: Literal["freeze"] = "freeze"
    layers: int = Field(default=2, ge=1, description="layers that learn, counted from the last one")


class FullOptions(Options):
    """Every weight learns."""

    name: Literal["full"] = "full"


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


MethodOptions = Annotated[
    Annotated[
        HeadOptions
        | PromptTuningOptions
        | IA3Options
        | AdapterOptions
        | LoraOptions
        | QLoraOptions
        | FreezeOptions
        | FullOptions,
        Field(discriminator="name"),
    ],
    BeforeValidator(_named),
]
