"""Which way rows are laid out for a model: concatenated where some of them show that this changes no number.

Shapes: T real tokens, G segments, D width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from burnish.engine.last_layer import narrow_last_layer
from burnish.engine.layout import LaidOut, LayoutChoice, arguments_of, position_offset
from burnish.engine.probe import FIRST, probe_rows
from burnish.engine.segments import ATTENTION, register
from burnish.engine.tree import begin_alike, telling
from burnish.engine.varlen import DEVICES, refused
from burnish.model.language import has_two_stacks
from burnish.types import Encoded, Reads

ENDS: tuple[Reads, ...] = ("first", "last")
ROUNDED = 0.05  # of the largest number: after 32 layers in bf16; segments that see each other differ by more
BEGINNING = 512  # tokens of a row that are compared on a GPU
COMPARED = 64  # choices that a process remembers
_COMPARED: dict[Hashable, tuple[LayoutChoice, bool]] = {}
_lock = Lock()


def choose_layout(
    encoder: Module, rows: Sequence[Encoded], *, device: torch.device, weights: str | None = None
) -> LayoutChoice:
    """Concatenated when the model allows it and gives the same numbers as padded on real rows; else padded.

    The comparison runs in evaluation mode and float32 on up to four rows of different length. A model that does not
    route attention through the interface lets segments see each other, which shows here. Where rows begin alike, two of
    them show whether the model gives the same with their beginning computed once; else it is computed for each.

    Args:
        weights: fingerprint of the encoder's weights. A process that has compared the same weights on the same rows
            need not do so again.
    """
    if has_two_stacks(encoder):
        return LayoutChoice(True, 0, "padded: encoder-decoder, sources and targets on a grid each")
    if not hasattr(encoder, "set_attn_implementation") or "position_ids" not in arguments_of(encoder):
        offset = position_offset(getattr(encoder, "config", None))
        return LayoutChoice(True, offset, "padded: the model takes no position ids")
    probe = probe_rows(rows, 4, getattr(encoder, "config", None))
    alike = begin_alike(rows[:FIRST]) if _looks_back(encoder) else []
    if device.type != "cpu":
        probe = [_begun(row) for row in probe]
    tokens = b"|".join(row.token_ids.tobytes() for row in [*probe, *alike])
    key = (type(encoder), weights, tokens, str(device), torch.get_num_threads())
    if weights is None or key not in _COMPARED:
        compared = _compared(encoder, probe, alike, device=device)
        if weights is not None:
            with _lock:
                _COMPARED[key] = compared
                while len(_COMPARED) > COMPARED:
                    _COMPARED.pop(next(iter(_COMPARED)))
        return compared[0]
    choice, narrowed = _COMPARED[key]
    switched: Any = encoder
    if not choice.padded:
        register()
        switched.set_attn_implementation(ATTENTION)
    if narrowed:
        narrow_last_layer(encoder)
    return choice


def _begun(row: Encoded) -> Encoded:
    """The beginning of a row that is long: in float32 a GPU keeps the scores of all pairs of tokens of padded rows."""
    if row.length <= BEGINNING or len(row.segment_lengths) > 1:
        return row
    types = None if row.token_types is None else row.token_types[:BEGINNING]
    tokens = row.token_ids[:BEGINNING]
    return replace(row, token_ids=tokens, segment_lengths=(BEGINNING,), token_types=types, read_positions=None)


def _compared(
    encoder: Any, probe: list[Encoded], alike: list[Encoded], *, device: torch.device
) -> tuple[LayoutChoice, bool]:
    """The layout that rows show to be right, and whether the last layer was narrowed; the encoder is switched to it."""
    offset = position_offset(encoder.config)
    before = getattr(encoder.config, "_attn_implementation", "sdpa")
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            plain = LaidOut(probe, range(len(probe)), padded=True, device=device).hidden(encoder)
            register()
            encoder.set_attn_implementation(ATTENTION)
            fast = LaidOut(probe, range(len(probe)), padded=False, device=device, position_offset=offset).hidden(
                encoder
            )
        difference = float((plain - fast).abs().max())
        if difference <= _tolerance(plain):
            narrowed = _narrowed(encoder, probe, plain, device=device, offset=offset)
            also = (", last layer only at the tokens read" if narrowed else "") + _attended(encoder.config, device)
            across, found = _across(encoder, telling(alike), device=device, offset=offset) if alike else (False, "")
            reason = f"concatenated: largest difference to padded {difference:.1e}{also}{found}"
            return LayoutChoice(False, offset, reason, across=across), narrowed
        reason = f"padded: concatenated differs by {difference:.1e}"
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        reason = f"padded: the model refused the attention function ({type(error).__name__})"
    finally:
        encoder.train(training)
    encoder.set_attn_implementation(before)
    return LayoutChoice(True, offset, reason), False


@torch.no_grad()
def _narrowed(encoder: Module, rows: Sequence[Encoded], plain_TD: Tensor, *, device: torch.device, offset: int) -> bool:
    """Whether the last layer could be narrowed to the tokens read, and gives the same there as the whole layer."""
    undo = narrow_last_layer(encoder)
    if undo is None:
        return False
    same = False
    try:
        for at in ENDS:
            batch = LaidOut(rows, range(len(rows)), padded=False, device=device, position_offset=offset)
            difference_GD = batch.hidden(encoder, at=at) - plain_TD[batch.positions(at)]
            same = float(difference_GD.abs().max()) <= _tolerance(plain_TD)
            if not same:
                break
    except (ValueError, RuntimeError, TypeError, AttributeError):
        same = False
    finally:
        if not same:
            undo()
    return same


def _looks_back(encoder: Module) -> bool:
    """Whether some part says that what stands behind a token does not matter to it."""
    return any(getattr(part, "is_causal", False) for part in encoder.modules())


@torch.no_grad()
def _across(encoder: Module, rows: Sequence[Encoded], *, device: torch.device, offset: int) -> tuple[bool, str]:
    """Whether rows that begin alike have the same states with their beginning computed once; and a few words on it."""
    states = [
        LaidOut(rows, range(len(rows)), padded=False, device=device, position_offset=offset, across=across).hidden(
            encoder
        )
        for across in (False, True)
    ]
    difference = float((states[1] - states[0]).abs().max())
    if difference <= _tolerance(states[0]):
        return True, ", beginnings that rows share computed once"
    return False, f", beginnings that rows share computed for each: computed once they differ by {difference:.1e}"


def _attended(config: Any, device: torch.device) -> str:
    """How attention is computed in bf16, for the run's record."""
    heads = getattr(config, "num_attention_heads", None)
    if device.type not in DEVICES or not isinstance(heads, int):
        return ""
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    why = refused(device, torch.bfloat16, heads, shared, width)
    return f", attention on a grid: {why}" if why else ", attention by lengths"


def _tolerance(states: Tensor) -> float:
    """Largest difference of the same states in another layout.

    Where weights are kept in bf16, so are states: what they differ by is rounded in every layer.
    """
    rounded = states.dtype != torch.float32
    return (ROUNDED if rounded else 1e-3) * max(1.0, float(states.abs().max()))
