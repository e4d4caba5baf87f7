"""How fast is LoRA on an 8B model in bf16, on one GPU, and in how much memory, against its peers?

    python benchmarks/gpu/lora.py

The shape of Llama 3.1 8B with random weights, LoRA of rank 16 beside every linear layer; conversations, and documents
of 4,096 and 8,192 tokens. burnish runs without a setting about speed. Peers, each at its best settings and left out by
name where it is not installed: TRL, peft with transformers' Trainer, Unsloth.

Ends within ten minutes, with fewer rounds rather than later. Writes benchmarks/results/gpu-lora.json after every arm.
"""

from __future__ import annotations

from arms import burnish_arm, trainer_arm, trl_arm, unsloth_arm
from frame import Arm, compare, gpu_parser, tables

ARMS: dict[str, Arm] = {"burnish": burnish_arm, "trl": trl_arm, "trainer": trainer_arm, "unsloth": unsloth_arm}
NEEDS = {"trl": "trl", "trainer": "accelerate", "unsloth": "unsloth"}


def main() -> None:
    compare(__file__, gpu_parser(str(__doc__)), ARMS, NEEDS, shape="8b", show=tables)


if __name__ == "__main__":
    main()
