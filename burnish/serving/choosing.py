"""The next token of each row of a pass: likeliest or drawn, by what the row's own request says.

What is drawn for a row depends on its numbers, its seed and how many tokens it has, not on the rows beside it.

Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token each time.
        top_p: share of the probability that is drawn from, 0..1.
        seed: of the draws.
        presence_penalty: taken from the logit of each token that the answer has.
        frequency_penalty: taken from it as often as the answer has it.
        bias: token -> what is added to its logit.
        top_logprobs: how many of the likeliest tokens are told with each chosen one; None: no log-probability is.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 13
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None

    @property
    def plain(self) -> bool:
        """Whether the likeliest token of the model's own numbers is all that is asked."""
        changed = self.presence_penalty or self.frequency_penalty or self.bias
        return self.temperature == 0 and not changed and self.top_logprobs is None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token; where it was asked for, the logarithm of its probability under the model, and the likeliest tokens with
    theirs, best first."""

    token: int
    logprob: float | None = None
    top: Sequence[tuple[int, float]] = ()


class Chooser:
    """Chooses the tokens of one answer, one after the other.

    Args:
        branch: which of several answers to the same request.
    """

    def __init__(self, choice: Choice, branch: int = 0) -> None:
        self.choice = choice
        self._random = np.random.Generator(np.random.Philox(np.random.SeedSequence([abs(choice.seed), branch])))
        self._said: Counter[int] = Counter()

    def choose(self, logits_V: Tensor) -> Chosen:
        """The next token, from the model's numbers in float32."""
        changed = self._changed(logits_V)
        token = self._drawn(changed) if self.choice.temperature > 0 else int(changed.argmax())
        self._said[token] += 1
        if self.choice.top_logprobs is None:
            return Chosen(token)
        logprobs = torch.log_softmax(logits_V, dim=-1)
        best = torch.topk(logprobs, self.choice.top_logprobs) if self.choice.top_logprobs else None
        pairs: Any = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best is not None else ()
        return Chosen(token, float(logprobs[token]), tuple(pairs))

    def _changed(self, logits_V: Tensor) -> Tensor:
        """The numbers with penalties and bias."""
        choice = self.choice
        taken: dict[int, float] = dict(choice.bias)
        if choice.presence_penalty or choice.frequency_penalty:
            for token, times in self._said.items():
                taken[token] = taken.get(token, 0.0) - choice.presence_penalty - choice.frequency_penalty * times
        if not taken:
            return logits_V
        tokens = torch.tensor(list(taken), device=logits_V.device)
        amounts = torch.tensor(list(taken.values()), dtype=logits_V.dtype, device=logits_V.device)
        return logits_V.index_add(0, tokens, amounts)

    def _drawn(self, logits_V: Tensor) -> int:
        """A token by its probability: where a number that is drawn from 0..1 falls on the probabilities in line."""
        warmth = max(self.choice.temperature, 1e-4)
        share = torch.softmax((logits_V - logits_V.max()).double() / warmth, dim=-1)
        drawn = float(self._random.random())
        if self.choice.top_p >= 1:
            return _fallen_on(share, drawn)
        ordered, tokens = torch.sort(share, descending=True, stable=True)
        before = ordered.cumsum(0) - ordered
        kept = max(1, int((before < self.choice.top_p).sum()))
        return int(tokens[_fallen_on(ordered[:kept] / ordered[:kept].sum(), drawn)])


def _fallen_on(share: Tensor, drawn: float) -> int:
    summed = share.cumsum(0)
    place = torch.searchsorted(summed, torch.tensor(drawn, dtype=summed.dtype, device=summed.device) * summed[-1])
    return min(int(place), len(share) - 1)


def choose_tokens(logits_RV: Tensor, choosers: Sequence[Chooser]) -> list[Chosen]:
    """A token for each row."""
    likeliest = logits_RV.argmax(dim=-1).tolist()
    return [
        Chosen(token) if chooser.choice.plain else chooser.choose(logits_RV[row].float())
        for row, (token, chooser) in enumerate(zip(likeliest, choosers, strict=True))
    ]
