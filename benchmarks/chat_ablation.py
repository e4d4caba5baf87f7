"""What does each part of the engine bring to LoRA on conversations? One part at a time is replaced by the plain way.

    python benchmarks/chat_ablation.py --pairs 3

The job of chat_lora.py. "Faster with it" is the rate of the whole engine divided by the rate without the part, in the
same round; "memory with it" likewise. The parts of the layout that encoders have, too, are in ablation.py.

Prints a table and writes benchmarks/results/chat-ablation.json.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from chat_lora import burnish_arm
from conversations import prepared
from measuring import (
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

PARTS = {
    "whole": "the whole engine",
    "padded": "rows one after the other (else: padded to the longest of the micro-batch, the last layer whole)",
    "ungrouped": "batches of similar length (else: random ones; without padding)",
    "fp32": "bf16 (else: float32)",
    "peft-layers": "LoRA layers that read the same states together (else: as peft computes them)",
    "autograd-loss": "a chunk's gradient made with its logits (else: all logits kept for autograd)",
    "every-token": "logits of the tokens learned (else: of all tokens, and all logits kept)",
    "stock-attention": "attention of batched products (else: torch's own)",
    "one-grid": "segments of about one length attended together (else: all of a micro-batch)",
    "written-out": "norms and rotations in one operation each (else: as transformers writes them)",
    "turned-apart": "rotations alone (else: as transformers writes them)",
    "given-back": "freed memory used again (else: given back to the system)",
    "whole-layer": "the last layer at the tokens learned (else: at all)",
}


def arm(place: Place, *, base: str, files: dict[str, str], steps: int, part: str) -> Figures:
    with _without(part):
        return burnish_arm(place, base=base, files=files, steps=steps)


@contextlib.contextmanager
def _without(part: str) -> Iterator[None]:
    """Replaces a part by the plain way, in this process."""
    from torch.nn import functional

    from burnish.engine import attention, grids, layout_choice, lean, loop, sampler
    from burnish.engine.fused_lora import FusedLora
    from burnish.engine.layout import LayoutChoice, position_offset
    from burnish.lifecycle import chat_bench, workbench
    from burnish.task import token_loss
    from burnish.types import LossTerm

    def padded(encoder: Any, *_: Any, **__: Any) -> LayoutChoice:
        return LayoutChoice(True, position_offset(encoder.config), "padded: for comparison")

    def as_peft_does(*_: Any) -> Any:
        return contextlib.nullcontext(FusedLora("", []))

    def cross_entropy(model: Any, hidden: Any, targets: Any, **_: Any) -> Any:
        return functional.cross_entropy(token_loss.head_logits(model, hidden).float(), targets, reduction="sum")

    def of_all_tokens(model: Any, batch: Any) -> LossTerm:
        logits = token_loss.head_logits(model.causal, batch.hidden(model.encoder, at="all")).float()
        loss = functional.cross_entropy(logits[batch.positions("read")], batch.targets, reduction="sum")
        return LossTerm(loss, float(len(batch.targets)))

    with contextlib.ExitStack() as stack:
        if part == "padded":
            stack.enter_context(mock.patch.object(chat_bench, "choose_layout", padded))
        if part == "ungrouped":
            stack.enter_context(mock.patch.object(sampler, "WINDOW", 1))
        if part == "fp32":
            stack.enter_context(mock.patch.dict("os.environ", BURNISH_PRECISION="fp32"))
        if part == "peft-layers":
            stack.enter_context(mock.patch.object(loop, "fused_lora", as_peft_does))
        if part == "autograd-loss":
            stack.enter_context(mock.patch.object(token_loss, "token_cross_entropy", cross_entropy))
        if part == "every-token":
            stack.enter_context(mock.patch.object(token_loss, "loss_of_read_tokens", of_all_tokens))
        if part == "stock-attention":
            stack.enter_context(mock.patch.multiple(attention, CAUSAL=0, LEARNT=0, READ=0))
        if part == "one-grid":
            stack.enter_context(mock.patch.object(grids, "grid_cuts", return_value=[]))
        if part == "written-out":
            stack.enter_context(mock.patch.object(loop, "held_lean", return_value=contextlib.nullcontext("")))
        if part == "turned-apart":
            stack.enter_context(mock.patch.object(lean, "lean_rotations", return_value=contextlib.nullcontext(set())))
        if part == "given-back":
            stack.enter_context(mock.patch.object(workbench, "keep_freed_memory"))
        if part == "whole-layer":
            stack.enter_context(mock.patch.object(layout_choice, "narrow_last_layer", return_value=None))
        yield


ARMS = {part: partial(arm, part=part) for part in PARTS}


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    lines, ratios = [], {}
    for part, about in PARTS.items():
        cells: list[object] = [about, f"{median_of(measured, part, 'tokens_per_second'):.0f}", "", ""]
        if part != "whole":
            ratios[part] = {
                "speed": quotients(measured, "whole", part, "tokens_per_second"),
                "memory": quotients(measured, "whole", part, "peak_memory_bytes"),
            }
            cells[2:] = [with_range(ratios[part]["speed"]), with_range(ratios[part]["memory"])]
        lines.append(cells)
    return table(["part", "tokens/s of this arm", "faster with it by", "memory with it"], lines), ratios


def main() -> None:
    described = parser(str(__doc__), pairs=3)
    described.add_argument("--steps", type=int, default=5)
    options = parsed(described)
    if answer(ARMS, options):
        return
    steps, count = (2, 40) if options.quick else (options.steps, 400)
    with tempfile.TemporaryDirectory() as folder:
        given = prepared(Path(folder), seed=options.seed, count=count, tiny=options.quick) | {"steps": steps}
        arms = {arm: partial(run_arm, __file__, arm, given, threads=options.threads) for arm in ARMS}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    report("chat-ablation", options, shown, {"steps": steps, "rows": count, "measured": measured} | ratios)


if __name__ == "__main__":
    main()
