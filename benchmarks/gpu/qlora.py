"""How fast is LoRA beside a 7B model in four bits, on one GPU, and does it fit into 8 GiB?

    python benchmarks/gpu/qlora.py

The shape of Llama 2 7B with random weights, in NF4, as `method: qlora` loads it. burnish is given 8 GiB of the GPU, as
if the card had no more; bf16 stands beside it for what the four bits cost. Needs bitsandbytes.

Ends within ten minutes, with fewer rounds rather than later. Writes benchmarks/results/gpu-qlora.json after every arm.
"""

from __future__ import annotations

from functools import partial

from arms import burnish_arm
from frame import Arm, compare, gpu_parser, tables

SMALL = "training.micro_batch_tokens=2048"
ARMS: dict[str, Arm] = {
    "burnish": partial(burnish_arm, settings=("method=qlora", SMALL), gib=8.0),
    "burnish-large-batch": partial(burnish_arm, settings=("method=qlora",)),
    "burnish-bf16": burnish_arm,
}
NEEDS = {"burnish": "bitsandbytes", "burnish-large-batch": "bitsandbytes"}


def main() -> None:
    described = gpu_parser(str(__doc__), cases=("chat", "4k"))
    compare(__file__, described, ARMS, NEEDS, shape="7b", show=tables)


if __name__ == "__main__":
    main()
