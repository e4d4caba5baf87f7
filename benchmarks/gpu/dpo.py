"""How fast is DPO with LoRA on an 8B model in bf16, on one GPU, against TRL?

    python benchmarks/gpu/dpo.py

The shape of Llama 3.1 8B with random weights, prompts and two answers of chat-like lengths, LoRA of rank 16 beside
every linear layer. burnish computes the prompt of a pair once, and what the base thinks of the answers once before the
first step, whose seconds are added to the steps by the number of pairs. TRL, left out by name where it is not
installed, reads the same pairs in the same order, in bf16, without checkpointing and without padding.

Ends within ten minutes, with fewer rounds rather than later. Writes benchmarks/results/gpu-dpo.json after every arm.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import paths  # noqa: F401
from arms import LORA, UNASKED, WARM_UP, Watch, figures, full_speed, loaded, nothing_saved, trained
from chat_lora import pairs_in_order
from frame import Arm, Figures, Place, compare, gpu_parser, peaks, tables
from measuring import train_steps

REFERENCE = "what the base thinks of the answers"  # a stage of burnish's runs


class Stages(Watch):
    """Notes when each stage began, too."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.stages: list[tuple[str, float]] = []

    def stage(self, name: str) -> None:
        self.stages.append((name, time.monotonic()))

    def seconds_of(self, name: str) -> float:
        begun = [each for each, _ in self.stages].index(name)
        return self.stages[begun + 1][1] - self.stages[begun][1]


def burnish_arm(
    place: Place, *, base: str, files: dict[str, str], tokens: int, batch: int, steps: int, at_once: int
) -> Figures:
    from burnish.errors import OutOfMemoryError

    watch = Stages(steps)
    rows = sum(len(Path(path).read_text(encoding="utf-8").splitlines()) for path in files.values())
    settings = (f"training.global_batch_size={batch}", "training.learning_rate=2e-4", UNASKED, "method=lora")
    try:
        with nothing_saved():
            train_steps(files, watch, place.work / "run", f"model.base={base}", "task=preference", *settings)
    except OutOfMemoryError as error:
        return {"out_of_memory": True, "said": error.message}
    per_step = (watch.times[-1] - watch.times[WARM_UP - 1]) / (steps - WARM_UP)
    seconds = per_step / batch + watch.seconds_of(REFERENCE) / rows
    return figures(place, watch.times, [0] * steps, watch.losses, peaks(), None) | {"pairs_per_second": 1 / seconds}


def trl_arm(
    place: Place, *, base: str, files: dict[str, str], tokens: int, batch: int, steps: int, at_once: int
) -> Figures:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    class Tokenized(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    def build(callbacks: list[Any], options: dict[str, Any]) -> Any:
        return Tokenized(
            model=loaded(base),
            args=DPOConfig(
                output_dir=str(place.work / "trl"), bf16=full_speed(), max_length=None, padding_free=True, **options
            ),
            train_dataset=Dataset.from_list(pairs_in_order(base, files["train"], batch, steps)),
            peft_config=LoraConfig(**LORA),
            callbacks=callbacks,
        )

    found = trained(place, build, [], 2 * tokens, batch, steps, at_once, {"learning_rate": 2e-4})
    if found.get("out_of_memory"):
        return found
    times = found["times"]
    return found | {"pairs_per_second": batch * (steps - WARM_UP) / (times[-1] - times[WARM_UP - 1])}


ARMS: dict[str, Arm] = {"burnish": burnish_arm, "trl": trl_arm}


def main() -> None:
    described = gpu_parser(str(__doc__), cases=("chat",))
    show = partial(tables, field="pairs_per_second", unit="pairs/s")
    compare(__file__, described, ARMS, {"trl": "trl"}, shape="8b", pairs=True, show=show)


if __name__ == "__main__":
    main()
