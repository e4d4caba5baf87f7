"""What LoRA saves against full fine-tuning in burnish itself: time, memory and weights that learn.

    python benchmarks/memory.py --pairs 5

"-70 % time, -90 % memory, 0.1 % of the weights" is often quoted for LoRA. Here one model, the Llama of 71 million
random weights of conversations.py, learns the same conversations twice in the same steps in six ways:

    full            every weight
    lora            rank 16 beside every linear layer, burnish's default
    lora-q-v        rank 16 beside queries and values alone, where the quoted share comes from
    lora-top        rank 16 beside every linear layer of the top quarter
    lora-top-kept   the same, and what the layers below give is computed once: training.keep_frozen_states
    freeze          the top two layers

Tokens a second count from the end of the first step on; what is computed before is in the seconds to its end. Memory
is the process's peak, and its growth beyond what the process had with the libraries and the base in memory: that
growth is what a method can save. Prints a table and writes benchmarks/results/memory.json.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from chat_lora import BATCH, SETTINGS, burnish_arm, found
from conversations import prepared
from measuring import (
    Arm,
    Figures,
    Measured,
    Place,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    report,
    run_arm,
    table,
    take_turns,
    with_range,
)

METHODS = {
    "full": ("method=full",),
    "lora": ("method=lora",),
    "lora-q-v": ("method.name=lora", 'method.target_modules=["q_proj", "v_proj"]'),
    "lora-top": ("method.name=lora", "method.layers={top}"),
    "lora-top-kept": ("method.name=lora", "method.layers={top}", "training.keep_frozen_states=true"),
    "freeze": ("method.name=freeze", "method.layers=2"),
}


def method_arm(place: Place, *, base: str, files: dict[str, str], steps: int, method: str) -> Figures:
    """burnish's figures with the growth of its memory, and the share of the weights that learn."""
    from burnish.lifecycle.environment import peak_memory_bytes
    from burnish.model.language import load_language_model

    model = load_language_model(found(base))
    loaded, whole = peak_memory_bytes(), sum(weight.numel() for weight in model.parameters())
    del model
    settings = (*SETTINGS, *(setting.replace("{top}", str(_top(base))) for setting in METHODS[method]))
    measured = burnish_arm(place, base=base, files=files, steps=steps, settings=settings)
    learning = sum(weight.numel() for weight in _learned(base, method).values())
    growth = measured["peak_memory_bytes"] - loaded
    return measured | {"growth_bytes": growth, "share": learning / whole}


def _learned(base: str, method: str) -> Mapping[str, Any]:
    from burnish.method.freeze import Freeze
    from burnish.method.full import Full
    from burnish.method.lora import Lora
    from burnish.model.language import load_language_model

    made = {"full": Full(), "lora": Lora(), "lora-q-v": Lora(target_modules=("q_proj", "v_proj"))}
    chosen: Any = made.get(method) or (Freeze(layers=2) if method == "freeze" else Lora(layers=_top(base)))
    learned: Mapping[str, Any] = chosen.trainable(chosen.attach(load_language_model(found(base))))
    return learned


def _top(base: str) -> int:
    """A quarter of the layers."""
    config = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    return max(1, int(config["num_hidden_layers"]) // 4)


ARMS: dict[str, Arm] = {method: partial(method_arm, method=method) for method in METHODS}
FIELDS = ("tokens_per_second", "peak_memory_bytes", "growth_bytes")


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    """The table, and each method against full, round by round; of the speed, what is left of the time."""
    ratios: dict[str, Any] = {}
    lines = []
    for arm in measured:
        rate, peak, growth = (median_of(measured, arm, field) for field in FIELDS)
        share = measured[arm][0]["share"]
        first = median_of(measured, arm, "first_step_seconds")
        cells = [arm, f"{share:.2%}", f"{rate:.0f}", f"{first:.1f}", f"{peak / 1e6:,.0f}", f"{growth / 1e6:,.0f}"]
        cells += ["", "", ""]
        if arm != "full":
            time = quotients(measured, "full", arm, "tokens_per_second")
            ratios[arm] = {"time": time, **{field: quotients(measured, arm, "full", field) for field in FIELDS[1:]}}
            cells[6:] = [with_range(values) for values in ratios[arm].values()]
        lines.append(cells)
    head = ["method", "weights that learn", "tokens/s", "first step, s", "peak MB", "growth MB"]
    return table([*head, "time of full", "peak of full", "growth of full"], lines), ratios


def main() -> None:
    described = parser(str(__doc__), pairs=5)
    described.add_argument("--steps", type=int, default=8, help="half of them on the same conversations again (8)")
    options = parsed(described)
    if answer(ARMS, options):
        return
    steps = 4 if options.quick else options.steps
    count = BATCH * (steps // 2)
    with tempfile.TemporaryDirectory() as folder:
        given = prepared(Path(folder), seed=options.seed, count=count, tiny=options.quick) | {"steps": steps}
        arms = {arm: partial(run_arm, __file__, arm, given, threads=options.threads) for arm in ARMS}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    report(__file__, options, shown, {"steps": steps, "rows": count, "measured": measured, "ratios": ratios})


if __name__ == "__main__":
    main()
