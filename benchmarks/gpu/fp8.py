"""What do frozen weights in 8 bits bring to LoRA on an 8B model, and what do they change of its loss?

    python benchmarks/gpu/fp8.py

As lora.py, burnish alone: with `training.frozen_products: fp8` and without, in turns. The loss of every step of both is
kept, and the largest difference between them shown. Needs a GPU from Ada or Hopper on.

Ends within ten minutes, with fewer rounds rather than later. Writes benchmarks/results/gpu-fp8.json after every arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from arms import burnish_arm
from frame import Arm, Figures, Measured, Place, compare, device_name, gpu_parser, tables

EIGHT = "training.frozen_products=fp8"


def eight_arm(place: Place, **given: Any) -> Figures:
    """burnish in 8 bits; on a CPU, which multiplies them slowly, without the refusal, and in bf16 beside them."""
    if device_name() == "cpu":
        from burnish.engine import fp8

        fp8.DEVICES = ("cpu",)
        return burnish_arm(place, settings=(EIGHT, "training.precision=bf16"), **given)
    return burnish_arm(place, settings=(EIGHT,), **given)


def show(measured: dict[str, Measured], told: Mapping[str, Any]) -> str:
    """The tables, and how far the losses are apart."""
    lines = [tables(measured, told)]
    for kind, found in measured.items():
        runs = [found[arm][0]["losses"] for arm in ("burnish", "burnish-bf16") if found.get(arm)]
        if len(runs) == 2:
            apart = max(abs(one - other) / other for one, other in zip(*runs, strict=True))
            lines.append(f"{kind}: losses of the steps differ by {apart:.3%} at most")
        lines += [note for each in found.get("burnish", []) for note in each["notes"] if "fp8" in note][:1]
    return "\n".join(lines)


ARMS: dict[str, Arm] = {"burnish": eight_arm, "burnish-bf16": partial(burnish_arm)}


def main() -> None:
    compare(__file__, gpu_parser(str(__doc__)), ARMS, {}, shape="8b", show=show)


if __name__ == "__main__":
    main()
