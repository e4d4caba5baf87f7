"""How fast is full fine-tuning of an 8B model on one GPU, and in how much memory?

    python benchmarks/gpu/full.py

The shape of Llama 3.1 8B with random weights, all of which learn; documents of 4,096 and 8,192 tokens. burnish keeps
no running average of the weights here, which would be as large as they are, and AdamW's moments in eight bits where
bitsandbytes is installed. Peers, left out by name where they are not installed: TRL and transformers' Trainer, in bf16
with bf16 states.

Ends within ten minutes, with fewer rounds rather than later. Writes benchmarks/results/gpu-full.json after every arm.
"""

from __future__ import annotations

import importlib.util
from functools import partial

from arms import burnish_arm, trainer_arm, trl_arm
from frame import Arm, compare, gpu_parser, tables

MOMENTS = "adamw-8bit" if importlib.util.find_spec("bitsandbytes") else "adamw"
FULL = ("method=full", "training.learning_rate=2e-5", "training.average_decay=0", f"training.optimizer={MOMENTS}")
ARMS: dict[str, Arm] = {
    "burnish": partial(burnish_arm, settings=FULL),
    "trl": partial(trl_arm, full=True),
    "trainer": partial(trainer_arm, full=True),
}
NEEDS = {"trl": "trl", "trainer": "accelerate"}


def main() -> None:
    described = gpu_parser(str(__doc__))
    described.set_defaults(rows=["4k", "8k"])
    compare(__file__, described, ARMS, NEEDS, shape="8b", full=True, show=tables)


if __name__ == "__main__":
    main()
