"""What a run will need before anything is loaded: memory, time and money; and the refusal of one that cannot fit.

Lengths are counted with the base's own tokenizer on a sample of the rows. Time follows from the multiplications that
the tokens cost and from how many this machine does in a second, which is measured once and corrected by every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.engine.options import CPU_TOKENS, MANY
from burnish.errors import ModelError
from burnish.lifecycle.follow import visible_gpus
from burnish.lifecycle.machine_speed import MachineSpeed, machine_speed
from burnish.method.options import (
    AdapterOptions,
    FreezeOptions,
    LoraOptions,
    MethodOptions,
    PromptTuningOptions,
)
from burnish.model.bases import BASES
from burnish.model.catalogue import RANDOM_ROWS
from burnish.model.fit import Learning, Memory, Shape, learned_weights, machine_memory, predict_memory, shape_of
from burnish.model.images import FAMILIES, read_preprocessing
from burnish.model.load import Base, load_tokenizer
from burnish.recipe.schema import Recipe
from burnish.types import Example, Row, Split

SAMPLE = 512  # rows whose tokens are counted
LONGEST = 8_192  # tokens of a conversation that are read, unless the recipe says so
PATCH = 16  # pixels, as images are counted
COMPARED = ("embedding", "recommendation")  # tasks that compare the rows of a step, and compute more of them at once
GIB = 2**30
SPARE = 0.95  # of the memory that is free; the rest is for what else happens on the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of rows: of all training rows together, of the longest, and how many different ones there are."""

    rows: int
    total: int
    longest: int
    distinct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run will need.

    Attributes:
        memory: bytes by part.
        available_bytes, machine_bytes: of main memory, now and in all.
        seconds_low, seconds_high: of the training and its verdict.
        cost_low, cost_high: in the currency of training.price_per_hour; None without a price.
        energy_wh: None where the machine does not tell, and energy_reason says why.
        inputs: what memory and time were computed from.
    """

    memory: Memory
    available_bytes: int
    machine_bytes: int
    seconds_low: float
    seconds_high: float
    cost_low: float | None
    cost_high: float | None
    energy_wh: float | None
    energy_reason: str
    inputs: dict[str, Any]

    @property
    def fits(self) -> bool:
        return self.memory.total <= SPARE * self.available_bytes

    def sentence(self) -> str:
        """Memory, time and money for people."""
        need, have = self.memory.total / GIB, self.machine_bytes / GIB
        said = f"needs about {need:.1f} GiB of {have:.0f}, {said_seconds(self.seconds_low, self.seconds_high)}"
        if self.cost_low is not None and self.cost_high is not None:
            said += f", at a cost of {self.cost_low:.2f} to {self.cost_high:.2f}"
        return said

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "memory": self.memory.as_dict(), "fits": self.fits}


def forecast(recipe: Recipe, base: Base, data: PreparedData, *, speed: MachineSpeed | None = None) -> Forecast | None:
    """What training a settled recipe on these rows will need.

    None for a model of tables, which is too small to count, and where a GPU is visible, for which nothing was measured.

    Args:
        recipe: with method and epochs filled in.
        speed: of this machine; measured, or read from where it is kept, when None.
    """
    if base.name == RANDOM_ROWS or visible_gpus():
        return None
    shape, learning = shape_of(base), learning_of(recipe)
    lengths = lengths_of_rows(recipe, base, data.splits[Split.TRAIN])
    memory, inputs = _memory(recipe, base, shape, learning, lengths)
    speed = speed or machine_speed(recipe.training.threads or 1)
    work = _multiplications(recipe, shape, learning, lengths, rows=sum(map(len, data.splits.values())))
    low, high = speed.seconds(work, family=base.model_type, method=learning.method)
    price = recipe.training.price_per_hour
    total, available = machine_memory()
    return Forecast(
        memory=memory,
        available_bytes=available,
        machine_bytes=total,
        seconds_low=round(low, 1),
        seconds_high=round(high, 1),
        cost_low=None if price is None else price * low / 3_600,
        cost_high=None if price is None else price * high / 3_600,
        energy_wh=None,
        energy_reason="not predicted; measured where the machine tells",
        inputs={**inputs, "multiplications": work},
    )


def require_fit(found: Forecast, recipe: Recipe, base: Base) -> None:
    """Refuses a run that cannot fit before anything is spent on it.

    Raises:
        ModelError: [model/does-not-fit] with what would fit.
    """
    if found.fits:
        return
    parts = sorted(found.memory.parts().items(), key=lambda part: -part[1])
    need, free = found.memory.total / GIB, found.available_bytes / GIB
    raise ModelError(
        "model/does-not-fit",
        f"training needs about {need:.1f} GiB of memory, {free:.1f} GiB are free",
        where="model.base",
        details=[f"{name}: {size / GIB:.1f} GiB" for name, size in parts[:4]],
        hint="; or ".join(what_would_fit(found, recipe, base)) or "use a machine with more memory",
    )


def what_would_fit(found: Forecast, recipe: Recipe, base: Base) -> list[str]:
    """Changes to the recipe after which the training fits, the mildest first: fewer tokens, lora, a smaller base."""
    shape, learning, inputs = shape_of(base), learning_of(recipe), found.inputs
    room = SPARE * found.available_bytes

    def fits(shape: Shape, learning: Learning, tokens: int) -> bool:
        given: dict[str, Any] = {"tokens": tokens, "longest": inputs["longest"], "rows_at_once": inputs["rows_at_once"]}
        return predict_memory(shape, learning, data_bytes=found.memory.data, **given).total <= room

    ways = []
    fewer = max(inputs["longest"], 128)
    if fewer < inputs["tokens"] and fits(shape, learning, fewer):
        ways.append(f"--set training.micro_batch_tokens={fewer}")
    methods = ["lora", *(["qlora"] if base.generates else [])]
    for method in [name for name in methods if name != learning.method]:
        if fits(shape, Learning(method=method, amount=16), inputs["tokens"]):
            ways.append(f"--set method={method}")
            break
    smaller = [
        known
        for known in BASES
        if known.parameters < base.parameters and (known.kind == "language") == base.generates
        if (known.kind == "seq2seq") == base.has_decoder and (known.kind == "image") == (base.model_type in FAMILIES)
        if known.safetensors and fits(shape_of(known), learning, inputs["tokens"])
    ]
    if smaller:
        largest = max(smaller, key=lambda known: known.parameters)
        ways.append(f"--set model.base={largest.name} ({largest.parameters / 1e6:,.0f} million weights)")
    return ways


def learning_of(recipe: Recipe) -> Learning:
    """The method of a recipe as memory sees it."""
    method = recipe.method
    assert method is not None
    training = recipe.training
    return Learning(
        method=method.name,
        amount=_amount(method),
        averaged=training.average_decay > 0,
        eight_bits=training.optimizer == "adamw-8bit",
    )


def lengths_of_rows(recipe: Recipe, base: Base, rows: Sequence[Example]) -> Lengths:
    """Tokens of rows as the base reads them, counted on evenly spread ones; patches of images."""
    if base.model_type in FAMILIES:
        height, width = read_preprocessing(base.folder).size
        patches = math.ceil(height / PATCH) * math.ceil(width / PATCH)
        return Lengths(rows=len(rows), total=patches * len(rows), longest=patches, distinct=0)
    tokenizer = load_tokenizer(base.folder)
    limit = base.max_length
    if base.generates:
        limit = min(base.context, recipe.model.max_length or LONGEST)
    step = max(1, len(rows) // SAMPLE)
    sample = rows[::step]
    encoded = tokenizer.encode_batch([" ".join(_texts(example.row)) for example in sample])
    lengths = [min(len(row.ids), limit) for row in encoded]
    seen = len({token for row in encoded for token in row.ids})
    share = len(rows) / max(1, len(sample))
    # New words come ever more rarely: Heaps' law with its usual exponent of one half.
    distinct = min(tokenizer.get_vocab_size(), round(seen * math.sqrt(share)))
    return Lengths(
        rows=len(rows), total=round(sum(lengths) * share), longest=max(lengths, default=1), distinct=distinct
    )


def said_seconds(low: float, high: float) -> str:
    """A range of time for people: about 6 to 9 minutes."""
    unit, name = next(((u, n) for u, n in ((3_600, "hours"), (60, "minutes")) if low >= u), (1, "seconds"))
    first, last = round(low / unit, 1 if low < 10 * unit and unit > 1 else 0), math.ceil(high / unit)
    return f"about {first:g} to {last:g} {name}"


def _memory(
    recipe: Recipe, base: Base, shape: Shape, learning: Learning, lengths: Lengths
) -> tuple[Memory, dict[str, Any]]:
    """The memory, and the numbers it was predicted from."""
    whole = base.generates or base.has_decoder or base.model_type in FAMILIES or learning.method != "full"
    table_rows = None if whole else lengths.distinct
    many = learned_weights(shape, learning, table_rows=table_rows) >= MANY
    usual = CPU_TOKENS * (2 if many else 1) * (4 if recipe.task in COMPARED else 1)  # as engine/sampler.py has it
    tokens = min(recipe.training.micro_batch_tokens or usual, lengths.total)
    mean = lengths.total / max(1, lengths.rows)
    tokens = max(lengths.longest, min(tokens, math.ceil(1.3 * mean * recipe.training.global_batch_size)))
    inputs: dict[str, Any] = {
        "tokens": tokens,
        "longest": lengths.longest,
        "rows_at_once": max(1, tokens // max(1, lengths.longest)),
        "data_bytes": _data_bytes(base, lengths),
        "table_rows": table_rows,
        "precision": "bf16" if recipe.training.precision == "bf16" else "fp32",
    }
    memory = predict_memory(shape, learning, **inputs)
    described = {**inputs, "shape": asdict(shape), "learning": asdict(learning)}
    return memory, described


def _data_bytes(base: Base, lengths: Lengths) -> int:
    """Rows in memory: 3 bytes a pixel, or a text twice and its tokens; half as much again for validation and test."""
    each = 3 * PATCH**2 if base.model_type in FAMILIES else 20
    return int(1.5 * each * lengths.total)


def _multiplications(recipe: Recipe, shape: Shape, learning: Learning, lengths: Lengths, *, rows: int) -> float:
    """Multiply-and-adds, counted twice, of training and verdict.

    Two for each weight of a layer and token forwards, four more backwards where it learns, two where only what comes
    through it does (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
    """
    inside = shape.parameters - shape.vocabulary * shape.width
    if shape.floats_per_image:
        inside = 10 * shape.parameters  # a kernel is used at many places
    mean = lengths.total / max(1, lengths.rows)
    share = min(1.0, learned_weights(shape, learning) / max(1, shape.parameters))
    epochs = recipe.training.epochs or 0
    at_most = (recipe.training.max_steps or 10**9) * recipe.training.global_batch_size
    trained = min(epochs * lengths.rows, at_most) * mean
    if learning.method == "head":
        trained = 0.0
    judged = 3 * rows * mean
    return inside * (trained * (4 + 2 * share) + judged * 2)


def _amount(method: MethodOptions) -> int:
    match method:
        case LoraOptions():
            return method.rank
        case AdapterOptions():
            return method.size
        case PromptTuningOptions():
            return method.tokens
        case FreezeOptions():
            return method.layers
    return 0


def _texts(row: Row) -> Iterable[str]:
    """Every text of a row, those of its messages and lists too."""
    stack: list[Any] = list(row.values())
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)
