"""What does each part of the engine bring? One part at a time is replaced by the plain way, everything else stays.

    python benchmarks/ablation.py --pairs 5

The job of encoder.py (MiniLM, full fine-tuning, one pass over rows of banking77, 32 rows per optimizer step), and for
the last layer the same with the base pooling its first token instead of the mean. "Faster with it" is the rate of the
whole engine divided by the rate without the part, in the same round; "memory with it" likewise.

Prints a table and writes benchmarks/results/ablation.json. Needs the extras demo and dev.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from encoder import BATCH, burnish_arm
from measuring import (
    HELD_OUT,
    Figures,
    Measured,
    Place,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    read_rows,
    report,
    run_arm,
    table,
    take_turns,
    with_range,
    write_parts,
)

PARTS = {
    "whole": "the whole engine",
    "padded": "rows one after the other (else: padded to the longest of the micro-batch)",
    "ungrouped": "batches of similar length (else: random ones; without padding)",
    "padded-ungrouped": "both of these (else: random batches, padded)",
    "stock-dropout": "dropout masks from a pool (else: torch's own, attention probabilities included)",
    "autocast": "weights as bf16 numbers for a step (else: rounded in each product)",
    "stock-attention": "attention of batched products (else: torch's own)",
    "one-grid": "segments of about one length attended together (else: all of a micro-batch)",
    "any-count": "micro-batches of whole 32 tokens (else: of any number of tokens)",
    "three-products": "queries, keys and values in one product (else: in three)",
    "given-back": "freed memory used again (else: given back to the system)",
    "whole-table": "only the words that occur in the embedding table (else: all)",
    "fewer-at-once": "2,048 tokens at once, every whole step (else: 1,024)",
    "one-by-one": "weights side by side, moved in one call (else: each in its own)",
    "no-average": "without the running average of the weights (else: with it; this part costs)",
    "first-token": "the last layer at the token read, the base pooling its first token (else: at all tokens)",
}


def arm(place: Place, *, part: str, files: dict[str, str], steps: int) -> Figures:
    from burnish.engine.options import TrainingOptions

    given: dict[str, Any] = {"fewer-at-once": {"micro_batch_tokens": 1_024}, "no-average": {"average_decay": 0.0}}
    chosen = TrainingOptions(**given.get(part, {}))
    settings = [f"training.{name}={getattr(chosen, name)}" for name in given.get(part, {})]
    with _without(part):
        return burnish_arm(place, files=files, steps=steps, settings=settings)


@contextlib.contextmanager
def _without(part: str) -> Iterator[None]:
    """Replaces a part by the plain way, in this process."""
    from burnish.engine import attention, grids, layout, layout_choice, loop, sampler
    from burnish.engine.layout import LayoutChoice, position_offset
    from burnish.engine.learned import Learned
    from burnish.engine.optimizer import AdamW
    from burnish.lifecycle import encoder_bench, workbench
    from burnish.model.bert import SelfAttention
    from burnish.model.pooled import PooledEncoder

    def padded(encoder: Any, *_: Any, **__: Any) -> LayoutChoice:
        return LayoutChoice(True, position_offset(encoder.config), "padded: for comparison")

    @contextlib.contextmanager
    def whole_table(_: Any, *splits: Any, **__: Any) -> Iterator[Any]:
        yield list(splits), "embedding table: whole"

    def first(self: Any, batch: Any) -> Any:
        return batch.hidden(self.encoder, at="first").float()

    def three(self: Any, states: Any) -> list[Any]:
        return [part(states) for part in (self.query, self.key, self.value)]

    with contextlib.ExitStack() as stack:
        if "padded" in part:
            stack.enter_context(mock.patch.object(encoder_bench, "choose_layout", padded))
        if "ungrouped" in part:
            stack.enter_context(mock.patch.object(sampler, "WINDOW", 1))
        if part == "stock-dropout":
            stack.enter_context(mock.patch.object(loop, "replace_dropout", return_value=0))
        if part == "autocast":
            stack.enter_context(mock.patch.object(loop, "bf16_weights", return_value=(None, "")))
        if part == "one-by-one":
            stack.enter_context(mock.patch.object(AdamW, "hold"))
            stack.enter_context(mock.patch.object(Learned, "hold"))
        if part == "stock-attention":
            stack.enter_context(mock.patch.multiple(attention, CAUSAL=0, LEARNT=0, READ=0))
        if part == "one-grid":
            stack.enter_context(mock.patch.object(grids, "grid_cuts", return_value=[]))
        if part == "any-count":
            stack.enter_context(mock.patch.object(layout, "GRAIN", 1))
        if part == "three-products":
            stack.enter_context(mock.patch.object(SelfAttention, "_projected", three))
        if part == "given-back":
            stack.enter_context(mock.patch.object(workbench, "keep_freed_memory"))
        if part == "whole-table":
            stack.enter_context(mock.patch.object(encoder_bench, "compact_vocabulary", whole_table))
        if part.startswith("first-token"):
            stack.enter_context(mock.patch.object(PooledEncoder, "forward", first))
        if part == "first-token-whole-layer":
            stack.enter_context(mock.patch.object(layout_choice, "narrow_last_layer", return_value=None))
        yield


AGAINST = {"first-token": ("first-token", "first-token-whole-layer"), "no-average": ("no-average", "whole")}
ARMS = {part: partial(arm, part=part) for part in [*PARTS, "first-token-whole-layer"]}


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    lines, ratios = [], {}
    for part, about in PARTS.items():
        cells: list[object] = [about, f"{median_of(measured, part, 'rows_per_second'):.1f}", "", ""]
        if part != "whole":
            over, under = AGAINST.get(part, ("whole", part))
            ratios[part] = {
                "speed": quotients(measured, over, under, "rows_per_second"),
                "memory": quotients(measured, over, under, "peak_memory_bytes"),
            }
            cells[2:] = [with_range(ratios[part]["speed"]), with_range(ratios[part]["memory"])]
        lines.append(cells)
    return table(["part", "rows/s of this arm", "faster with it by", "memory with it"], lines), ratios


def main() -> None:
    found = parser(str(__doc__), pairs=3)
    found.add_argument("--steps", type=int, default=45)
    found.add_argument("--rows", type=int, default=3000)
    options = parsed(found)
    if answer(ARMS, options):
        return
    steps, count = (8, 256) if options.quick else (options.steps, options.rows)
    name, rows = read_rows("train")
    count = min(count, len(rows) - HELD_OUT) // BATCH * BATCH
    with tempfile.TemporaryDirectory() as folder:
        given = {"files": write_parts(Path(folder), rows, count, options.seed), "steps": steps}
        arms = {name: partial(run_arm, __file__, name, given, threads=options.threads) for name in ARMS}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    report(__file__, options, shown, {"data": name, "rows": count, "steps": steps, "measured": measured} | ratios)


if __name__ == "__main__":
    main()
