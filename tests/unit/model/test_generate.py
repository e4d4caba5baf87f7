"""Answers: those of the model's own likeliest tokens, whatever stands beside them, and the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.model.find import find_base
from burnish.model.generate import Sampling, generate
from burnish.model.language import load_language_model
from burnish.model.options import ModelOptions

END = 1
PROMPTS = [[0, 70, 80], [0, 90], [0, 40, 41, 42, 43, 44, 45], [0, 5, 6]]


@pytest.fixture(scope="module")
def causal(language_base: Path) -> Any:
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    return load_language_model(base).causal.eval()


@torch.no_grad()
def by_hand(causal: Any, prompt: list[int], count: int) -> list[int]:
    """The likeliest token again and again, without any cache or batch."""
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        token = int(causal(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token == END:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_greedy_answers_are_the_likeliest_tokens(causal: Any) -> None:
    answers = generate(causal, PROMPTS, ends=[END], sampling=Sampling(max_new_tokens=12))
    assert [answer.token_ids for answer in answers] == [by_hand(causal, prompt, 12) for prompt in PROMPTS]


def test_an_answer_stops_at_an_end_of_turn_and_says_so(causal: Any) -> None:
    whole = generate(causal, PROMPTS[:1], ends=[END], sampling=Sampling(max_new_tokens=12))[0]
    end = whole.token_ids[5]
    first = whole.token_ids.index(end)
    cut = generate(causal, PROMPTS[:1], ends=[end, END], sampling=Sampling(max_new_tokens=12))[0]
    assert (cut.token_ids, cut.stopped) == (whole.token_ids[:first], True)
    assert not generate(causal, PROMPTS[:1], ends=[END], sampling=Sampling(max_new_tokens=3))[0].stopped


def test_drawn_answers_depend_on_the_seed_alone(causal: Any) -> None:
    def drawn(seed: int) -> list[list[int]]:
        sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=seed)
        return [answer.token_ids for answer in generate(causal, PROMPTS, ends=[END], sampling=sampling)]

    state = torch.get_rng_state()
    first = drawn(1)
    assert torch.equal(torch.get_rng_state(), state), "the random numbers of a training are left alone"
    assert first == drawn(1)
    assert first != drawn(2)
