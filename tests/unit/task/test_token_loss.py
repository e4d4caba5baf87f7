"""Token losses in chunks are the plain ones of each family, whatever its head does."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from burnish.task.token_gradients import BLOCK, FILLED, plain_head, summed_loss
from burnish.task.token_loss import head_logits, token_cross_entropy, token_log_probabilities

TOLERANCE = 1e-5  # float32, the same sums in another order; losses are of the order of 10
SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen3": {"tie_word_embeddings": True},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Gemma2": {"final_logit_softcapping": 3.0},  # 3 * tanh(logits / 3)
    "Granite": {"logits_scaling": 4.0},  # logits / 4
    "Cohere": {"logit_scale": 0.25},  # logits * 0.25
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 80},
}


def language_model(family: str) -> Any:
    import transformers

    own = {name: value for name, value in SIZES.items() if family != "GPT2" or name.endswith(("_id", "vocab_size"))}
    config = getattr(transformers, f"{family}Config")(**own | FAMILIES[family])
    torch.manual_seed(0)
    name = f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    return getattr(transformers, name)(config).eval()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(3, 99, (1, 12), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_whole_model(family: str, ids: torch.Tensor) -> None:
    model = language_model(family)
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state[0]
        assert torch.allclose(head_logits(model, hidden), model(input_ids=ids).logits[0], atol=TOLERANCE)
        assert torch.allclose(
            model(input_ids=ids).logits[0], model(input_ids=ids, logits_to_keep=12).logits[0], atol=TOLERANCE
        )  # the body is back in its place


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_the_plain_ones(family: str, chunk: int, ids: torch.Tensor) -> None:
    """The plain way: all logits at once, -log softmax at the positions read."""
    reads, targets = torch.tensor([2, 3, 7, 8, 10]), torch.tensor([4, 5, 98, 3, 50])
    found = []
    for plain in (True, False):
        model = language_model(family)
        if plain:
            logits = model(input_ids=ids).logits[0, reads]
            loss = -logits.float().log_softmax(-1)[torch.arange(5), targets].sum()
        else:
            hidden = model.base_model(input_ids=ids).last_hidden_state[0, reads]
            loss = token_cross_entropy(model, hidden, targets, chunk=chunk)
        loss.backward()
        found.append((float(loss.detach()), {name: w.grad for name, w in model.named_parameters()}))
    assert found[1][0] == pytest.approx(found[0][0], rel=TOLERANCE)
    for name, gradient in found[0][1].items():
        assert (gradient is None) == (found[1][1][name] is None), name
        if gradient is not None:
            scale = max(1.0, float(gradient.abs().max()))
            assert torch.allclose(gradient, found[1][1][name], atol=10 * TOLERANCE * scale), name


@pytest.mark.parametrize(("dtype", "room"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_words_in_several_blocks_and_rows_that_are_filled_up(dtype: torch.dtype, room: float) -> None:
    words, reads = 2 * BLOCK + 5, FILLED + 3
    head, exact = (torch.nn.Linear(16, words, bias=False).to(kind) for kind in (dtype, torch.float64))
    with torch.no_grad():
        head.weight.copy_(0.5 + torch.linspace(-9, 9, 16 * words).sin().view(words, 16))  # a part that all have
        exact.weight.copy_(head.weight)
    states = torch.linspace(-7, 7, 16 * reads).cos().view(reads, 16).to(dtype).requires_grad_()
    wide, targets = states.detach().double().requires_grad_(), torch.arange(reads) * 499
    loss = summed_loss(states, targets, head, head, [head.weight], 4)
    plain = torch.nn.functional.cross_entropy(exact(wide), targets, reduction="sum")
    loss.backward()
    plain.backward()
    assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=room)
    for own, right in ((states.grad, wide.grad), (head.weight.grad, exact.weight.grad)):
        assert own is not None
        assert right is not None
        assert float((own.double() - right).abs().max()) <= room * float(right.abs().max())


def test_without_gradients_nothing_is_computed_twice(ids: torch.Tensor) -> None:
    model = language_model("Llama")
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[1]))
    hidden = torch.randn(5, 16)
    with torch.no_grad():
        token_cross_entropy(model, hidden, torch.arange(5), chunk=2)
    assert rows == [2, 2, 1]


def test_only_one_chunk_of_logits_is_kept(ids: torch.Tensor) -> None:
    """Logits that the backward pass needs are made again: autograd saves hidden states, not (R, V) tensors."""
    model, saved = language_model("Llama"), []
    hidden = torch.randn(50, 16, requires_grad=True)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_cross_entropy(model, hidden, torch.arange(50), chunk=10)
    assert not [shape for shape in saved if shape[-1:] == (99,)]


def test_the_body_comes_back_when_the_head_fails(ids: torch.Tensor) -> None:
    model = language_model("Llama")
    body = model.model
    with pytest.raises(RuntimeError):
        head_logits(model, torch.zeros(3, 5))  # of another width
    assert model.model is body


@pytest.mark.parametrize("family", FAMILIES)
def test_only_a_head_that_is_one_layer_is_computed_as_one(family: str) -> None:
    """Capped and scaled logits go through the model: large states show what small ones would hide."""
    model = language_model(family)
    plain = plain_head(model, partial(head_logits, model)) is not None
    assert plain == (family not in ("Gemma2", "Granite", "Cohere"))


@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
@pytest.mark.parametrize("learns", [True, False])
def test_log_probabilities_weigh_each_token_by_itself(family: str, learns: bool) -> None:
    """A preference loss multiplies tokens by factors of its own, which the forward pass does not know."""
    targets, weights = torch.tensor([4, 5, 98, 3, 50]), torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    found = []
    for plain in (True, False):
        model = language_model(family).requires_grad_(learns)
        hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
        if plain:
            values = head_logits(model, hidden).log_softmax(-1)[torch.arange(5), targets]
        else:
            values = token_log_probabilities(model, hidden, targets, chunk=2)
        (values * weights).sum().backward()
        found.append((values.detach(), hidden.grad, model.lm_head.weight.grad))
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=10 * TOLERANCE)


def test_in_bf16_a_sure_token_keeps_the_digits_of_its_gradient() -> None:
    """Where a target is almost certain, softmax minus one in bf16 would be zero; the loss is as exact as its logits."""
    model = language_model("Llama").requires_grad_(False)
    hidden = 3 * torch.nn.functional.normalize(model.lm_head.weight[:8].detach(), dim=1) / 0.3
    targets, found = torch.arange(8), []
    for precise in (True, False):
        states = hidden.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
            loss = token_cross_entropy(model, states, targets, chunk=3)
        loss.backward()
        found.append((float(loss.detach()), states.grad))
    assert found[1][0] == pytest.approx(found[0][0], rel=2e-2)  # of logits that have 8 bits
    difference = float((found[1][1] - found[0][1]).norm() / found[0][1].norm())
    assert (
        difference < 8e-2
    )  # a logit of 10 is rounded by 0.04, and its probability by that share; lost digits show as 1
