"""Beginnings that rows share are computed once, and nothing else changes: states, gradients, dropout, neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from burnish.engine import grids, segments
from burnish.engine.dropout import draw_starts, replace_dropout
from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.engine.selftest import check_invariants
from burnish.engine.tree import begin_alike, common_beginning, telling, tree_of
from burnish.errors import SelfTestError
from burnish.method.lora import Lora
from burnish.testing import chat_subject_over
from burnish.types import Encoded

Make = Callable[..., Any]
CPU = torch.device("cpu")
FAMILIES = ("llama", "qwen", "mixtral", "mistral")  # the last with a window that is shorter than the rows
# float32: the same products over another number of rows; states are of the order of 1
TOLERANCE = 2e-5


def row(*parts: Sequence[int], shared: int = 0) -> Encoded:
    """A row of segments; what the later ones share with the first they do not repeat."""
    return Encoded(
        np.concatenate([np.array(part) for part in parts]),
        tuple(len(part) for part in parts),
        np.array(0),
        shared_prefix=shared,
    )


def words(count: int, seed: int) -> list[int]:
    found: list[int] = np.random.default_rng(seed).integers(5, 40, size=count).tolist()
    return found


def instructed() -> list[Encoded]:
    """Five rows behind one system prompt: a pair of answers, a row that goes on where another ends, one apart."""
    system, question = words(20, 0), words(9, 1)
    return [
        row([*system, *words(4, 2)]),
        row([*system, *question, *words(7, 3)], words(3, 4), shared=29),
        row([*system, *question, *words(7, 3), *words(2, 5)]),
        row(words(11, 6)),
        row([*system, *words(4, 2)]),
    ]


def test_what_is_computed_by_hand() -> None:
    beginning = list(range(100, 120))
    rows = [
        row([*beginning, 1, 2]),
        row([*beginning, 1, 3, 4], [7, 8], shared=21),
        row([5, 6]),
    ]
    tree = tree_of(rows, across=True)
    assert tree is not None
    ids = np.concatenate([each.token_ids for each in rows])[tree.tokens]
    # [5 6] and the first row continue none; 1 3 4 goes on behind the first 21 tokens, and so do 7 8
    assert ids.tolist() == [5, 6, *beginning, 1, 2, 3, 4, 7, 8]
    assert tree.own.tolist() == [2, 22, 2, 2]
    assert [each.tolist() for each in tree.before] == [[], [], list(range(2, 23)), list(range(2, 23))]
    assert tree.places.tolist() == [*range(2, 24), *range(2, 23), 24, 25, 26, 27, 0, 1]
    inside = tree_of(rows, across=False)
    assert inside is not None
    assert len(inside.tokens) == sum(each.length for each in rows), "a row alone shares with nobody"
    assert tree_of([rows[0], rows[2]], across=False) is None
    assert tree_of([row([*beginning[:15], 1]), row([*beginning[:15], 2])], across=True) is None, "too short to pay"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4), st.integers(0, 3), st.integers(0, 5)), min_size=1))
def test_every_segment_keeps_its_tokens(shapes: list[tuple[int, int, int, int]]) -> None:
    """Of any rows: what a segment continues and what it has are its tokens, and no token is computed twice for it."""
    trunk, rows, full = words(40, 0), [], []
    for cut, own, other, seed in shapes:
        first = [*trunk[:cut], *words(own, seed)]
        shared = min(cut, len(first) - 1)
        rows.append(row(first, words(other, seed + 9), shared=shared) if other else row(first))
        full += [first, [*first[:shared], *words(other, seed + 9)]] if other else [first]
    tree = tree_of(rows, across=True)
    if tree is None:
        return
    ids = np.concatenate([each.token_ids for each in rows])
    assert ids[tree.tokens][tree.places].tolist() == ids.tolist()
    assert len(tree.tokens) <= len(ids)
    ends = np.cumsum(tree.own)
    found = [
        ids[tree.tokens][[*before, *range(end - own, end)]].tolist()
        for before, own, end in zip(tree.before, tree.own, ends, strict=True)
    ]
    assert sorted(found) == sorted(full)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_are_those_of_each_row_alone(encoder: Make, family: str, single_thread: None) -> None:
    model, rows = encoder(family), instructed()
    choice = choose_layout(model, rows, device=CPU)
    assert choice.across, choice.reason
    assert choice.reason.endswith(", beginnings that rows share computed once")
    found = []
    for pieces in ([[each] for each in rows], [rows]):
        model.zero_grad()
        states = [choice.lay_out(piece, range(len(piece)), device=CPU).hidden(model) for piece in pieces]
        torch.cat(states).pow(3).sum().backward()  # type: ignore[no-untyped-call]
        gradients = {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}
        found.append((torch.cat(states).detach(), gradients))
    assert torch.allclose(found[0][0], found[1][0], atol=TOLERANCE)
    for name, gradient in found[0][1].items():
        # float32: sums over all tokens in another order; largest entries are of the order of 10 to 100
        assert torch.allclose(found[1][1][name], gradient, atol=2e-3, rtol=1e-3), name


def test_what_is_read_is_found_where_it_is_computed(encoder: Make, single_thread: None) -> None:
    model, rows = encoder("llama"), instructed()
    choice = choose_layout(model, rows, device=CPU)
    for at in ("first", "last"):
        with torch.no_grad():
            each = [choice.lay_out([one], [0], device=CPU).hidden(model, at=at) for one in rows]
            assert torch.allclose(
                choice.lay_out(rows, range(5), device=CPU).hidden(model, at=at), torch.cat(each), atol=TOLERANCE
            )


def test_in_bf16_gradients_are_as_near_to_the_exact_ones_as_without(encoder: Make, single_thread: None) -> None:
    model, rows = encoder("llama"), instructed()
    choice = choose_layout(model, rows, device=CPU)
    found = []
    for across, dtype in ((False, torch.float32), (False, torch.bfloat16), (True, torch.bfloat16)):
        model.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16):
            states = LaidOut(rows, range(5), padded=False, device=CPU, across=across).hidden(model)
        states.float().pow(2).sum().backward()  # type: ignore[no-untyped-call]
        found.append(torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None]))
    exact, plain, shared = found
    assert float((shared - exact).norm()) <= 1.5 * float((plain - exact).norm()) + 1e-3 * float(exact.norm())
    assert choice.across


def test_a_rows_states_do_not_change_with_its_neighbours(encoder: Make, single_thread: None) -> None:
    model, rows = encoder("llama"), instructed()
    choice = choose_layout(model, rows, device=CPU)
    others = [row([*words(20, 0), *words(17, seed)]) for seed in (7, 8)]
    with torch.no_grad():
        found = [
            choice.lay_out(batch, range(len(batch)), device=CPU).hidden(model)[start : start + rows[1].length]
            for batch, start in ((rows, rows[0].length), ([others[0], rows[1], others[1]], others[0].length))
        ]
    assert torch.allclose(found[0], found[1], atol=TOLERANCE)


def tokens_seen(model: nn.Module) -> list[int]:
    """Collects how many tokens each pass computes."""
    seen: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel()))  # type: ignore[operator]
    return seen


def test_rows_share_where_nothing_is_dropped_out(encoder: Make) -> None:
    """Each row draws for itself; in evaluation there is nothing to draw, and the answers of a row draw together."""
    model, rows = encoder("llama"), instructed()
    choice = choose_layout(model, rows, device=CPU)
    model.model_dropout = nn.Dropout(0.5)  # Llama has none of its own
    replace_dropout(model, seed=0, probability=None)
    seen, draws = tokens_seen(model), draw_starts(range(5), seed=0, step=0)
    for training in (True, False):
        model.train(training)
        LaidOut(rows, range(5), padded=False, device=CPU, across=choice.across, draw=draws).hidden(model)
    every = sum(each.length for each in rows)
    # the first and the last row are the same but for the token that each keeps
    assert seen == [every, every - 20 - (20 + 9 + 7) - (20 + 3)]


def test_only_models_that_look_back_share(encoder: Make) -> None:
    rows = [row(each.token_ids.tolist()) for each in instructed()]
    for family in ("bert", "modernbert"):
        choice = choose_layout(encoder(family), rows, device=CPU)
        assert not choice.across
        assert "share" not in choice.reason


_continuing = grids._continuing


def everything_seen(*arguments: Any) -> segments.Segments:
    """Segments that continue others and see all of their grid, also behind the token that asks."""
    found = _continuing(*arguments)
    assert found.mask is not None
    return dataclasses.replace(found, mask=torch.ones_like(found.mask))


def test_a_planted_leak_is_found_and_rows_do_not_share(encoder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "_continuing", everything_seen)
    rows = [each for each in instructed() if not each.shared_prefix]
    choice = choose_layout(encoder("llama"), rows, device=CPU)
    assert (choice.padded, choice.across) == (False, False)
    assert "beginnings that rows share computed for each: computed once they differ by" in choice.reason


@pytest.mark.parametrize("max_tokens", [100_000, 16])
def test_the_self_test_finds_a_leak_of_what_is_shared(
    language_base: Any, conversations: list[dict[str, Any]], max_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows that begin alike are among those it compares, also where its own choice has none, and however long."""
    system = {"role": "system", "content": "answer with one word of the question, and no other word at all"}
    mixed = [
        {"messages": ([system] if i in (3, 11) else []) + each["messages"]} for i, each in enumerate(conversations[:40])
    ]
    over = chat_subject_over(str(language_base), mixed)
    model, layout = over.learner(Lora(rank=2))
    assert layout.across, layout.reason
    case: dict[str, Any] = {"task": over.task, "method": Lora(rank=2), "model": model, "rows": over.encoded()}
    place: dict[str, Any] = {"layout": layout, "device": CPU, "max_tokens": max_tokens}
    assert "one by one" in check_invariants(**case, **place)
    monkeypatch.setattr(grids, "_continuing", everything_seen)
    with pytest.raises(SelfTestError, match="give different losses"):
        check_invariants(**case, **place)


def test_two_rows_that_begin_alike() -> None:
    rows = instructed()
    found = begin_alike(rows)
    assert [each.length for each in found] == [38, 24], "not those that only a last token tells apart"
    assert [each.length for each in telling(found)] == [38, 24, 21]
    assert begin_alike(rows[2:4]) == []
    assert common_beginning([rows[0], rows[1], rows[2]]) == 20
    assert common_beginning(rows) == 0
    assert common_beginning(rows[:1]) == 0


def test_attention_behind_others_is_that_of_torch_in_bf16() -> None:
    """Fewer queries than keys, in the products that short segments have in bf16 on a CPU."""
    from burnish.engine.attention import attend

    drawn = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, 2, length, 8, generator=drawn) for length in (5, 21, 21))
    mask = torch.arange(21) <= torch.tensor([16, 3, 9])[:, None, None, None] + torch.arange(5)[:, None]
    found: list[list[Tensor]] = []
    for dtype in (torch.float32, torch.bfloat16):
        given = [states.to(dtype).requires_grad_() for states in (query, key, value)]
        output = attend(*given, mask=mask, causal=False, scale=0.4)  # type: ignore[misc]
        assert output.shape == query.shape
        gradients = torch.autograd.grad(output.float().pow(2).sum(), given)
        found.append([output.detach().float(), *(gradient.float() for gradient in gradients)])
    for exact, rounded in zip(*found, strict=True):
        assert float((exact - rounded).norm()) <= 0.02 * float(exact.norm())  # bf16 keeps 8 bits
