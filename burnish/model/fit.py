"""How much memory a training needs, from the shape of its base and the lengths of its rows, before anything is loaded.

The parts follow from counting: weights and what is kept for each weight that learns, in float32, and what a layer keeps
of each token for the backward pass. Three numbers were measured, on CPUs, and are named so; benchmarks/fit.py says how
close the sum comes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.model.bases import KnownBase
from burnish.model.images import is_image_model
from burnish.model.load import Base

CONTROL_GROUP = Path("/sys/fs/cgroup")
MIB = 2**20
FLOAT = 4  # bytes; weights, gradients and moments are kept in float32
NF4_BYTES = 0.55  # of a weight in four bits with its share of the scales
LIBRARIES = 508 * MIB  # measured: Python, torch, transformers, peft, scikit-learn, loaded
WITHOUT_TEXT = 55 * MIB  # measured: less of them where no text is read
PEFT = 53 * MIB  # measured: more of them for the methods that peft brings
LATER_COPIES = 1.35  # measured: of two more copies of the weights for the verdict, what finds no room left over
PER_TOKEN_WIDTH, PER_TOKEN_INNER = 10.0, 2.25  # measured: numbers kept of a token and a layer, of width and of inner
BESIDE = 2.0  # measured: more of them where a low-rank update or a bottleneck runs beside each layer
OF_PEFT = ("lora", "qlora", "ia3", "prompt-tuning")
BF16 = 0.6  # of the activations where matrix products run in bf16 over float32 weights
HEADS_NAMES = ("num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads")
LAYER_NAMES = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
INNER_NAMES = ("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "n_inner", "hidden_dim")
SCORES = 2.2  # measured: numbers kept for each pair of tokens and head, where padding has to be masked
HEAD_CHUNK = 128  # positions whose logits are in memory at once, task/token_loss.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a base decides its memory.

    Attributes:
        parameters: weights.
        width, inner: numbers of a token between layers, and inside a feed-forward layer.
        layers: of all stacks.
        heads: of attention.
        vocabulary: rows of the embedding table; 0 where there is none.
        writes: whether it has a head for words, as wide as its vocabulary.
        floats_per_image: numbers kept of an image for the backward pass, for families that are no transformers.
    """

    parameters: int
    width: int
    layers: int
    inner: int
    heads: int
    vocabulary: int = 0
    writes: bool = False
    floats_per_image: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """Which weights learn.

    Attributes:
        method: its name in a recipe.
        amount: rank of lora and qlora, numbers of an adapter's narrow layer, vectors of a prompt, layers of freeze.
        averaged: whether a running average of the weights that learn is kept beside them.
        eight_bits: whether their moments are kept in eight bits.
    """

    method: str
    amount: int = 0
    averaged: bool = True
    eight_bits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes by what they are for; their sum is the largest resident size of the process."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    data: int
    verdict: int
    libraries: int

    @property
    def total(self) -> int:
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def as_dict(self) -> dict[str, int]:
        return {"total": self.total, **self.parts()}


def shape_of(base: Base | KnownBase) -> Shape:
    """The shape of a base that was found, from its config.json, or of one that is only known from the catalogue."""
    if isinstance(base, KnownBase):
        return Shape(
            parameters=base.parameters,
            width=base.width,
            layers=base.layers,
            inner=base.inner,
            heads=max(1, base.width // 64),  # as wide as most families make them
            vocabulary=base.vocabulary,
            writes=base.kind in ("language", "seq2seq"),
            floats_per_image=0 if base.inner or base.kind != "image" else 60 * base.context**2,
        )
    config = _config_of((base.under or base).folder)
    width = base.width
    convolves = is_image_model(config) and config.get("model_type") != "vit"
    layers = _first(config, LAYER_NAMES)
    if base.has_decoder:
        layers = _first(config, ("num_layers", "encoder_layers")) + _first(
            config, ("num_decoder_layers", "decoder_layers", "num_layers")
        )
    return Shape(
        parameters=base.parameters,
        width=width,
        layers=layers,
        inner=_first(config, INNER_NAMES) or 4 * width,
        heads=_first(config, HEADS_NAMES) or max(1, width // 64),
        vocabulary=_first(config, ("vocab_size",)),
        writes=base.generates or base.has_decoder,
        floats_per_image=_floats_per_image(base.folder) if convolves else 0,
    )


def learned_weights(shape: Shape, learning: Learning, *, table_rows: int | None = None) -> int:
    """How many weights learn.

    Args:
        table_rows: rows of the embedding table that the data reads, where only those learn; None: the whole table.
    """
    matrices = 3 if shape.writes else 2  # of a feed-forward layer; language models gate theirs
    table = shape.vocabulary * shape.width
    per_layer = (shape.parameters - table) // max(shape.layers, 1)
    both = shape.width + shape.inner
    match learning.method:
        case "full":
            unread = 0 if table_rows is None else max(0, shape.vocabulary - table_rows) * shape.width
            return shape.parameters - unread
        case "freeze":
            return min(learning.amount, shape.layers) * per_layer
        case "lora" | "qlora":
            return shape.layers * learning.amount * (8 * shape.width + matrices * both)
        case "adapter":
            return shape.layers * 4 * learning.amount * shape.width
        case "prompt-tuning":
            return learning.amount * shape.width
        case "ia3":
            return shape.layers * (2 * shape.width + shape.inner)
    return 0


def predict_memory(
    shape: Shape,
    learning: Learning,
    *,
    tokens: int,
    longest: int,
    rows_at_once: int = 0,
    data_bytes: int = 0,
    table_rows: int | None = None,
    precision: str = "fp32",
) -> Memory:
    """Bytes a training and its verdict need at most at one time, by part.

    Args:
        tokens: computed at once, as training.micro_batch_tokens bounds them.
        longest: tokens of the longest row.
        rows_at_once: images computed at once, for families that are no transformers.
        data_bytes: rows in memory, texts and tokens or pixels.
        table_rows: rows of the embedding table that learn; None: all.
        precision: "fp32" or "bf16", of the matrix products.

    Source: 16 bytes for each weight that learns with AdamW and an average: gradient, two moments, average.
    """
    learned = learned_weights(shape, learning, table_rows=table_rows)
    plain = shape.parameters * FLOAT
    weights = plain
    if learning.method == "qlora":
        table = shape.vocabulary * shape.width
        weights = int((shape.parameters - table) * NF4_BYTES) + table * FLOAT
    libraries = LIBRARIES + (PEFT if learning.method in OF_PEFT else 0)
    return Memory(
        weights=weights,
        gradients=learned * FLOAT,
        optimizer=learned * (FLOAT if learning.averaged else 0) + _moments(shape, learning, learned, table_rows),
        activations=int(
            _activations(shape, learning, tokens, longest, rows_at_once) * (BF16 if precision == "bf16" else 1)
        ),
        data=data_bytes,
        verdict=int(LATER_COPIES * weights),
        libraries=libraries if shape.vocabulary else libraries - WITHOUT_TEXT,
    )


def _moments(shape: Shape, learning: Learning, learned: int, table_rows: int | None) -> int:
    if not learning.eight_bits:
        return 2 * learned * FLOAT
    exact = shape.width * (shape.vocabulary if table_rows is None else table_rows) if learning.method == "full" else 0
    return 2 * min(exact, learned) * FLOAT + 2 * max(0, learned - exact)


def machine_memory() -> tuple[int, int]:
    """(all, available) bytes of main memory, within the limit of a container where there is one."""
    import psutil

    found = psutil.virtual_memory()
    total, available = int(found.total), int(found.available)
    limit, used = _container_memory()
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0, limit - used))
    return total, available


def _activations(shape: Shape, learning: Learning, tokens: int, longest: int, rows_at_once: int) -> int:
    """Bytes kept of the tokens or images computed at once."""
    if shape.floats_per_image:
        share = 0.1 if learning.method == "head" else 1.0
        return int(share * rows_at_once * shape.floats_per_image * FLOAT)
    per_layer = PER_TOKEN_WIDTH * shape.width + PER_TOKEN_INNER * shape.inner
    layers: float = shape.layers
    if learning.method == "head":
        layers = 1
    elif learning.method == "freeze":
        layers = min(learning.amount, shape.layers) + 1
    elif learning.method in ("lora", "qlora", "adapter"):
        per_layer *= BESIDE
    logits = 3 * HEAD_CHUNK * shape.vocabulary if shape.writes else 0
    scores = 0 if shape.writes else SCORES * longest * shape.heads
    return int(FLOAT * (tokens * layers * (per_layer + scores) + logits))


def _floats_per_image(folder: Path) -> int:
    """Numbers that autograd keeps of one image, counted on a model without numbers of its own."""
    import torch
    from transformers import AutoConfig, AutoModel

    from burnish.model.images import read_preprocessing

    height, width = read_preprocessing(folder).size
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += 0 if tensor.is_leaf else tensor.numel()
        return tensor

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModel.from_config(config).train()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(pixel_values=torch.zeros(2, 3, height, width))  # a batch norm asks for more than one
    return kept // 2


def _config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


def _first(config: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)


def _container_memory() -> tuple[int | None, int]:
    """(limit, used) bytes of the control group this process is in; no limit where there is none."""
    folder = CONTROL_GROUP
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None, 0
    return (int(limit), used) if limit.isdecimal() else (None, 0)
