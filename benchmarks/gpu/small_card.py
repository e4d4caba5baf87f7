"""Does LoRA on a 7B model in bf16 fit into a card of 16 GiB, and how fast is it there?

    python benchmarks/gpu/small_card.py

The shape of Llama 2 7B with random weights, 2,048 tokens at once; the process is given 16 GiB of the GPU, as if the
card had no more. burnish finds out by itself what fits. Conversations, and documents of 4,096 tokens.

Ends within ten minutes, with fewer rounds rather than later. Writes benchmarks/results/gpu-small_card.json after every
arm.
"""

from __future__ import annotations

from functools import partial

from arms import burnish_arm
from frame import Arm, compare, gpu_parser, tables

SMALL = "training.micro_batch_tokens=2048"
ARMS: dict[str, Arm] = {
    "burnish": partial(burnish_arm, settings=(SMALL,), gib=16.0),
    "burnish-whole-card": burnish_arm,
}


def main() -> None:
    described = gpu_parser(str(__doc__), cases=("chat", "4k"))
    compare(__file__, described, ARMS, {}, shape="7b", show=tables)


if __name__ == "__main__":
    main()
