"""Answers of a language model: batched, with a cache of keys and values, until it ends its turn; the same every time.

Evaluation and serving share this. Shapes: B prompts, S tokens of the longest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from burnish.model.prompt import prompt_ids

BATCH_TOKENS = 8_192  # prompts and answers computed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: after which an answer is cut.
        temperature: 0 takes the likeliest token each time.
        top_p: share of the probability that is drawn from, 0..1.
        seed: of the draws.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 13


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens of an answer without the one that ends it, and whether the model ended it by itself."""

    token_ids: list[int]
    stopped: bool


@torch.inference_mode()
def generate(
    causal: Any,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    sampling: Sampling,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    """An answer to each prompt, in order.

    Args:
        causal: model of transformers with its own attention, in evaluation mode; an encoder with a decoder reads the
            prompts and writes from the start token that its config names.
        prompts: token ids up to where the model begins to speak, at least one each.
        ends: tokens that end a turn.
    """
    from transformers import GenerationConfig

    learned = prompt_ids(causal)
    prompts = [[*learned, *prompt] for prompt in prompts]
    pad, two_stacks = int(ends[0]), bool(causal.config.is_encoder_decoder)
    chosen: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        chosen = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    settings = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens, eos_token_id=list(ends), pad_token_id=pad, use_cache=True, **chosen
    )
    answers: list[Answer | None] = [None] * len(prompts)
    done = 0
    state = torch.get_rng_state()
    for batch in _batches([len(prompt) for prompt in prompts], sampling.max_new_tokens):
        ids_BS, mask_BS = _padded([prompts[i] for i in batch], pad, causal.device, left=not two_stacks)
        torch.manual_seed(sampling.seed + batch[0])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="transformers")  # about settings of the base that are not used
            out = causal.generate(ids_BS, attention_mask=mask_BS, generation_config=settings)
        for row, index in enumerate(batch):
            answers[index] = _answer(out[row, 1 if two_stacks else ids_BS.shape[1] :].tolist(), set(ends))
        done += len(batch)
        advance(done, len(prompts))
    torch.set_rng_state(state)
    return [answer for answer in answers if answer is not None]


def _batches(lengths: Sequence[int], new_tokens: int) -> list[list[int]]:
    """Prompts of like length together, as many as fit."""
    batches: list[list[int]] = []
    for index in np.argsort(lengths, kind="stable").tolist():
        longest = lengths[index] + new_tokens
        if batches and (len(batches[-1]) + 1) * longest <= BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _padded(
    prompts: Sequence[Sequence[int]], pad: int, device: Any, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, S) ids and mask; padded on the left, what is to be gone on from stands at the end of each row."""
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt) if left else 0
        ids[row, start : start + len(prompt)] = torch.tensor(list(prompt), dtype=torch.long)
        mask[row, start : start + len(prompt)] = 1
    return ids.to(device), mask.to(device)


def _answer(ids: list[int], ends: set[int]) -> Answer:
    for place, token in enumerate(ids):
        if token in ends:
            return Answer(ids[:place], True)
    return Answer(ids, False)
