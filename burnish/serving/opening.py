"""How the rows of a language model will be computed, found out when it is opened by comparing logits.

By its parts on packed weights, where the family is known and this is a CPU; else by its own modules, all rows together;
else row by row. Each way is compared with the model as transformers computes it, on rows of random tokens, before the
first request.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from burnish.engine.precision import Precision
from burnish.model.decoder_parts import DecoderParts, LayerParts, UnknownPartsError, read_parts
from burnish.model.products import Packed, Plain, can_pack, has_room
from burnish.serving.beside import AdapterBank
from burnish.serving.forward import ByModules, ByParts, Forward
from burnish.serving.lanes import Alone, Lane, Lanes, Together
from burnish.serving.slots import ATTENTION, register

LOGGER = logging.getLogger("burnish.serving")
PROBE = (7, 12)  # tokens of the rows that are compared
TOLERANCE = 1e-3  # of the largest logit; both in float32


def open_lanes(causal: Any, bank: AdapterBank, precision: Precision, room: int) -> Lanes:
    """The fastest way that gives the numbers of the plain model; the model's weights are made ready for it.

    Args:
        causal: in float32, in evaluation mode; it belongs to the lanes from now on.
        room: rows times tokens of the longest that are kept of them together.
    """
    by_parts = open_by_parts(causal, bank, precision, room, owned=True)
    if by_parts is not None:
        return by_parts
    together = _agree_by_modules(causal)
    if precision.name == "bf16":
        lower_products(causal)
    if not together:
        return Alone(causal, precision)
    return Together(ByModules(causal, precision), bank, causal.device, room)


@torch.inference_mode()
def open_by_parts(causal: Any, bank: AdapterBank, precision: Precision, room: int, *, owned: bool) -> Together | None:
    """Rows computed by the parts of the model; None, and a notice, where that cannot be or gives something else.

    Args:
        causal: in float32, in evaluation mode.
        owned: whether the model lets go of its own weights where there are packed ones.
    """
    if causal.device.type != "cpu":
        return None
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    try:
        parts = read_parts(causal)
        _require_operators_and_memory(parts, dtype, owned=owned)
        _require_the_same(causal, ByParts(parts, AdapterBank(causal), torch.float32, Plain))
        for layers in (*_groups(parts.layers[0]), [parts.head]):
            Packed(layers, dtype)  # raises before anything is let go of
    except (UnknownPartsError, TypeError, ValueError, RuntimeError) as error:
        _notice(causal.config.model_type, str(error))
        return None

    def packed(layers: Sequence[nn.Linear]) -> Packed:
        product = Packed(layers, dtype)
        if owned and (
            dtype == torch.float32 or layers[0] is not parts.head
        ):  # in bf16 the head is read in float32, too
            _let_go(layers)
        return product

    return Together(ByParts(parts, bank, dtype, packed), bank, causal.device, room)


def lower_products(causal: Any) -> None:
    """Linear layers in bf16, in which they are multiplied anyway: autocast would round them anew in every pass."""
    for part in causal.modules():
        if isinstance(part, nn.Linear) and part.weight.dtype == torch.float32:
            part.weight = nn.Parameter(part.weight.detach().to(torch.bfloat16), requires_grad=False)


def _groups(layer: LayerParts) -> list[list[nn.Linear]]:
    """Layers that read the same states."""
    groups = (layer.into, [layer.out], layer.gated, [layer.down])
    return [[linear for _, linear in group] for group in groups]


def _let_go(layers: Sequence[nn.Linear]) -> None:
    """Leaves of weights their shapes only; a table of words that shares one keeps it."""
    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.detach().to("meta"), requires_grad=False)


def _require_operators_and_memory(parts: DecoderParts, dtype: torch.dtype, *, owned: bool) -> None:
    if not can_pack():
        raise UnknownPartsError("this torch has no oneDNN")
    if not owned:
        needed = sum(layer.weight.numel() for layer in parts.linear_layers()) * dtype.itemsize
        if not has_room(needed):
            raise UnknownPartsError(f"packed weights would take {needed:,} bytes, too many for this machine")


def _require_the_same(causal: Any, forward: Forward) -> None:
    rows = _probe(causal)
    if not _alike(_plain_logits(causal, rows), _last_logits(forward, AdapterBank(causal), causal.device, rows)):
        raise UnknownPartsError("its parts do not give its logits")


@torch.inference_mode()
def _agree_by_modules(causal: Any) -> bool:
    """Whether rows together have the logits of the plain model; then its attention is switched to slots."""
    arguments = inspect.signature(causal.forward).parameters
    if not hasattr(causal, "set_attn_implementation") or "position_ids" not in arguments:
        return False
    before = getattr(causal.config, "_attn_implementation", "sdpa")
    try:
        rows = _probe(causal)
        plain = _plain_logits(causal, rows)
        register()
        causal.set_attn_implementation(ATTENTION)
        forward = ByModules(causal, Precision("fp32", "compared"))
        if _alike(plain, _last_logits(forward, AdapterBank(causal), causal.device, rows)):
            return True
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):  # a family that attends in another way
        pass
    causal.set_attn_implementation(before)
    return False


def _probe(causal: Any) -> list[list[int]]:
    words = int(causal.get_input_embeddings().weight.shape[0])
    return [np.random.default_rng(seed).integers(0, words, count).tolist() for seed, count in enumerate(PROBE)]


def _plain_logits(causal: Any, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """(V,) of the last token of each row, as the model computes them."""
    given = [torch.tensor([list(row)], device=causal.device) for row in rows]
    return [causal(input_ids=ids).logits[0, -1].float() for ids in given]


def _last_logits(
    forward: Forward, bank: AdapterBank, device: torch.device, rows: Sequence[Sequence[int]]
) -> list[Tensor]:
    """(V,) of the last token of each row, read together in two pieces and written on."""
    lanes = Together(forward, bank, device, sum(PROBE))
    entered = [Lane(list(row[:-1])) for row in rows]
    for lane in entered:
        lanes.enter(lane, None)
    lanes.compute([(lane, 3) for lane in entered])
    lanes.compute([(lane, len(lane.ids) - 3) for lane in entered])
    for lane, row in zip(entered, rows, strict=True):
        lane.ids.append(row[-1])
    ready, logits_RV = lanes.compute([])
    assert logits_RV is not None
    found = {id(lane): logits for lane, logits in zip(ready, logits_RV.float(), strict=True)}
    return [found[id(lane)] for lane in entered]


def _alike(plain: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    pairs = zip(plain, found, strict=True)
    return all(float((one - other).abs().max()) <= TOLERANCE * float(one.abs().max()) for one, other in pairs)


@cache
def _notice(family: str, reason: str) -> None:
    """Once for each reason."""
    LOGGER.warning("%s is decoded by its own modules, which is slower: %s", family, reason)
