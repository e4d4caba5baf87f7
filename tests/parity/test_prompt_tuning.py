"""Prompt tuning against peft's own: the same states, the same loss, and the same gradient of the prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.method.prompt_tuning import PromptTuning
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.load import load_encoder
from burnish.model.options import ModelOptions
from burnish.model.prompt import prompt_of
from burnish.testing import Subject, chat_subject_over

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by its old name
CPU = torch.device("cpu")
TOKENS = 6


def pefts(plain: Any, kind: str, vectors: torch.Tensor) -> Any:
    """The base under peft's prompt tuning with these vectors."""
    config = peft.PromptTuningConfig(task_type=kind, num_virtual_tokens=TOKENS)
    model: Any = peft.get_peft_model(plain, config)
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(vectors)
    return model.eval()


@pytest.mark.parametrize("padded", [True, False])
def test_an_encoders_states(sentence_base: Path, make_rows: Callable[..., Any], padded: bool) -> None:
    base = find_base(ModelOptions(base=str(sentence_base)), recipe_folder=Path(), runs=Path("absent"))
    rows, encoder = make_rows([5, 3, 9]), load_encoder(base).eval()
    if not padded:
        assert not choose_layout(encoder, rows, device=CPU).padded
    PromptTuning(tokens=TOKENS).attach(encoder)
    prompt = prompt_of(encoder)
    assert prompt is not None
    reference = pefts(load_encoder(base), "FEATURE_EXTRACTION", prompt.weight)
    found = LaidOut(rows, range(3), padded=padded, device=CPU).hidden(encoder).split([5, 3, 9])
    for row, states in zip(rows, found, strict=True):
        ids = torch.from_numpy(row.token_ids)[None]
        theirs = reference(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, TOKENS:]
        # float32: the same products over another number of rows; states are of the order of 1
        assert torch.allclose(states, theirs, atol=2e-5)


def test_a_language_models_loss_and_gradient(language_base: Path, conversations: list[dict[str, Any]]) -> None:
    """All rows at once in our layout against one row after the other in peft's, where labels name what is learned."""
    subject: Subject = chat_subject_over(str(language_base), conversations[:24])
    model, layout = subject.learner(PromptTuning(tokens=TOKENS))
    prompt = prompt_of(model.encoder)
    assert not layout.padded
    assert prompt is not None
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    reference = pefts(load_language_model(base).core, "CAUSAL_LM", prompt.weight)
    rows = subject.encoded()
    ours = subject.task.loss(model.eval(), LaidOut(rows, range(24), padded=False, device=CPU)).total
    ours.backward()
    theirs = torch.zeros(())
    for row in rows:
        ids, labels = torch.from_numpy(row.token_ids)[None], torch.full((1, row.length), -100)
        labels[0, row.read_positions + 1] = torch.from_numpy(row.targets)
        found = reference(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)
        theirs = theirs + found.loss * len(row.targets)  # peft gives the mean over the learned tokens
    theirs.backward()
    gradient = reference.prompt_encoder["default"].embedding.weight.grad
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert torch.allclose(prompt.weight.grad, gradient, atol=1e-4 * float(gradient.abs().max()))
