"""Attention by lengths, through torch's operators as its documentation has them: here they are given to the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from burnish.engine import grids, varlen
from burnish.engine.grids import grids_of, grids_of_tree
from burnish.engine.segments import inside, segment_attention
from burnish.engine.tree import tree_of
from burnish.types import Encoded

CPU = torch.device("cpu")


def _seen(query: Tensor, key: Tensor, causal: bool, scale: float, left: int | None) -> Tensor:
    """(H, Q, K) what each query of a segment takes of each key; the queries are the last of its tokens."""
    place = torch.arange(key.shape[1])
    distance = place[key.shape[1] - query.shape[1] :, None] - place
    hidden = distance < 0 if causal else torch.zeros_like(distance, dtype=torch.bool)
    if left is not None:
        hidden |= distance > left
    return (query @ key.transpose(1, 2) * scale).masked_fill(hidden, -torch.inf).softmax(-1)


def _segments(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, key_starts: Tensor) -> Iterator[list[Tensor]]:
    """Queries, keys and values of each segment, (H, tokens, d) float32, as many heads of each."""
    shared = query.shape[1] // key.shape[1]
    for a, b, c, d in zip(starts[:-1], starts[1:], key_starts[:-1], key_starts[1:], strict=True):
        own = (query[a:b], key[c:d].repeat_interleave(shared, 1), value[c:d].repeat_interleave(shared, 1))
        yield [each.float().transpose(0, 1) for each in own]


def _forward(query, key, value, starts, key_starts, longest, longest_keys, dropout, causal, debug, **more):  # type: ignore[no-untyped-def]
    assert starts.dtype == key_starts.dtype == torch.int32
    assert query.stride(-1) == key.stride(-1) == 1
    assert (longest, longest_keys) == (starts.diff().max(), key_starts.diff().max())
    about = (causal, more["scale"], more.get("window_size_left"))
    rows = [(_seen(q, k, *about) @ v).transpose(0, 1) for q, k, v in _segments(query, key, value, starts, key_starts)]
    none = query.new_zeros(0)
    return torch.cat(rows).to(query.dtype), none.float(), none, none, none


def _backward(gradient, query, key, value, out, exponents, starts, key_starts, *rest, **more):  # type: ignore[no-untyped-def]
    about = (rest[3], more["scale"], more.get("window_size_left"))
    outer = (gradient[a:b].float().transpose(0, 1) for a, b in pairwise(starts))
    found: list[list[Tensor]] = []
    for (q, k, v), g in zip(_segments(query, key, value, starts, key_starts), outer, strict=True):
        seen = _seen(q, k, *about)
        of_seen = g @ v.transpose(1, 2)
        scores = seen * (of_seen - (of_seen * seen).sum(-1, keepdim=True)) * more["scale"]
        found.append([scores @ k, scores.transpose(1, 2) @ q, seen.transpose(1, 2) @ g])
    whole = [torch.cat(parts, 1).transpose(0, 1) for parts in zip(*found, strict=True)]
    fewer = [each.unflatten(1, (key.shape[1], -1)).sum(2) for each in whole[1:]]
    return tuple(each.to(query.dtype) for each in (whole[0], *fewer))


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    given = torch.library.Library("aten", "IMPL")
    given.impl("_flash_attention_forward", _forward, "CPU")
    given.impl("_flash_attention_backward", _backward, "CPU")
    monkeypatch.setattr(varlen, "DEVICES", ("cpu",))
    monkeypatch.setattr(grids, "DEVICES", ("cpu",))
    monkeypatch.setattr(varlen, "_KNOWN", {})
    yield
    given._destroy()


def _row(length: int, *more: int, shared: int = 0) -> Encoded:
    tokens = np.arange(length + sum(more), dtype=np.int64)
    return Encoded(
        token_ids=tokens, segment_lengths=(length, *more), targets=np.zeros(1, np.int64), shared_prefix=shared
    )


@pytest.mark.parametrize("rows", [[_row(5), _row(1), _row(9)], [_row(6, 3, shared=4), _row(2, 5, shared=1)]])
@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 3), (False, None)])
def test_it_is_what_the_grid_gives(
    kernels: None, rows: list[Encoded], causal: bool, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not causal and rows[0].shared_prefix:
        pytest.skip("only texts that look back share a beginning")
    tree = tree_of(rows, across=False)
    sizes = np.array([length for row in rows for length in row.segment_lengths])
    with monkeypatch.context() as one_grid:  # as on a GPU
        one_grid.setattr(grids, "GRID", 10**9)
        laid = grids_of_tree(tree, 0, CPU) if tree else grids_of(sizes, [], CPU)
    assert all(grid.lengths is not None for grid in laid)
    assert varlen.refused(CPU, torch.bfloat16, 4, 2, 8) == ""
    bare = [dataclasses.replace(grid, lengths=None) for grid in laid]
    module: Any = torch.nn.Module()
    module.is_causal = causal
    count, found = sum(row.length for row in rows), []
    for segments in (laid, bare):
        torch.manual_seed(3)
        states = [torch.randn(1, heads, count, 8, dtype=torch.bfloat16).requires_grad_() for heads in (4, 2, 2)]
        with inside(segments):
            out, _ = segment_attention(module, *states, None, sliding_window=window)
        found.append([out.detach(), *torch.autograd.grad(out.float().square().sum(), states)])
    for by_lengths, on_grid in zip(*found, strict=True):
        torch.testing.assert_close(by_lengths, on_grid, rtol=0.02, atol=0.05)  # bf16 keeps 8 bits


def test_kernels_that_give_other_numbers_are_not_used(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert varlen.refused(CPU, torch.bfloat16, 4, 2, 8) == ""
    right = _seen
    monkeypatch.setitem(globals(), "_seen", lambda q, k, causal, *more: right(q, k, True, *more))
    assert varlen.refused(CPU, torch.bfloat16, 4, 4, 8) == "FlashAttention gave other numbers"


def test_what_they_do_not_take_stays_on_the_grid() -> None:
    assert "GPU" in varlen.refused(CPU, torch.bfloat16, 4, 2, 8)
    assert "GPU" in varlen.refused(torch.device("cuda"), torch.float32, 4, 2, 8)
    assert varlen.refused(torch.device("cuda"), torch.bfloat16, 4, 2, 12) == "heads of 12 numbers"


def test_a_refusal_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU for which torch was built without these kernels: here on a CPU."""
    monkeypatch.setattr(varlen, "DEVICES", ("cpu",))
    monkeypatch.setattr(varlen, "_KNOWN", {})
    assert varlen.refused(CPU, torch.bfloat16, 4, 2, 8) == "FlashAttention refused (NotImplementedError)"
