"""A language model that answers: the same template, tokens and ends of a turn as in training and evaluation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from burnish.data.conversations import checked
from burnish.data.records import RefusedRowError
from burnish.engine.precision import Precision, choose_device, choose_precision
from burnish.errors import DataProblemError
from burnish.model.generate import Answer, Sampling, generate
from burnish.model.language import LanguageModel, load_language_model
from burnish.model.load import Base, load_tokenizer
from burnish.model.template import ChatTemplate, RefusedConversationError
from burnish.serving.decoding import Decoder
from burnish.serving.language_package import load_packaged_language_model
from burnish.serving.writing import decoder_beside, write
from burnish.task.mask import Masker
from burnish.types import Row

Message = Mapping[str, Any]
GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked: a conversation that ends with the user or a tool, and the tools that may be called."""

    messages: Sequence[Message]
    tools: Sequence[Message] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as text, its tokens, and whether the model ended its turn by itself."""

    text: str
    tokens: int
    stopped: bool


class Answerer:
    """Answers conversations.

    Args:
        model: in evaluation mode, with its own attention.
        masker: template and tokenizer it was trained with.
        ends: tokens that end a turn.
        context: tokens it reads, prompt and answer together.
        learning: whether the model is in the middle of a training: then nothing is kept beside it.
    """

    def __init__(
        self, model: LanguageModel, masker: Masker, *, ends: Sequence[int], context: int, learning: bool = False
    ) -> None:
        self.model = model
        self.masker = masker
        self.ends = list(ends)
        self.context = context
        self.device: torch.device = next(model.parameters()).device
        self.precision: Precision = choose_precision("auto", self.device)
        self._opened = learning
        self._decoder: Decoder | None = None
        self._writes = threading.Lock()  # a decoder has one line of rows, and one who steps

    @classmethod
    def of_run(cls, final: Path, *, runs: Path) -> Answerer:
        """The tuned model of a run."""
        package = load_packaged_language_model(final, runs=runs)
        masker = Masker(package.template, load_tokenizer(final))
        model = package.model.to(choose_device()).eval()
        return cls(model, masker, ends=package.description["ends"], context=int(package.description["max_length"]))

    @classmethod
    def of_base(cls, base: Base, template: ChatTemplate, ends: Sequence[int]) -> Answerer:
        """A base as it comes, asked through the same template."""
        model = load_language_model(base).to(choose_device()).eval()
        return cls(model, Masker(template, load_tokenizer(base.folder)), ends=ends, context=base.context)

    def open(self) -> None:
        """Makes ready what answers; before a layout changes how the model computes, which a decoder refuses."""
        with self._writes:
            if not self._opened:
                self._decoder = decoder_beside(self.model, self.masker.tokenizer, self.precision)
                self._opened = True

    def fits(self, prompt: Prompt, new_tokens: int) -> bool:
        """Whether prompt and answer together are within what the model reads."""
        return len(self.masker.prompt(prompt.messages, prompt.tools)) + new_tokens <= self.context

    def answer(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling = GREEDY,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Said]:
        """An answer to each prompt, in order.

        Raises:
            DataProblemError: [predict/bad-prompt] when the template refuses a conversation, or it leaves no room for
                an answer.
        """
        ids = [self._ids(index, prompt) for index, prompt in enumerate(prompts)]
        room = min((self.context - len(each) for each in ids), default=0)
        most = max(1, min(sampling.max_new_tokens, room))
        bounded = Sampling(
            max_new_tokens=most, temperature=sampling.temperature, top_p=sampling.top_p, seed=sampling.seed
        )
        found = self.write(ids, bounded, advance)
        decode = self.masker.tokenizer.decode
        return [
            Said(decode(answer.token_ids, skip_special_tokens=True).strip(), len(answer.token_ids), answer.stopped)
            for answer in found
        ]

    def write(
        self,
        ids: Sequence[Sequence[int]],
        sampling: Sampling,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Answer]:
        """What the model goes on with behind some tokens, in order: by the decoder of the service where there can be
        one, else by transformers."""
        self.open()
        if self._decoder is not None:
            with self._writes:
                return write(self._decoder, ids, ends=self.ends, sampling=sampling, advance=advance)
        with self.precision.compute(self.device):
            return generate(self.model.causal, ids, ends=self.ends, sampling=sampling, advance=advance)

    def _ids(self, index: int, prompt: Prompt) -> list[int]:
        try:
            ids = self.masker.prompt(prompt.messages, prompt.tools)
        except RefusedConversationError as refused:
            raise DataProblemError(
                "predict/bad-prompt", f"the template refuses this conversation: {refused}", where=f"item {index + 1}"
            ) from refused
        if len(ids) >= self.context:
            raise DataProblemError(
                "predict/bad-prompt",
                f"the conversation has {len(ids):,} tokens, the model reads {self.context:,}",
                where=f"item {index + 1}",
                hint="shorten it",
            )
        return ids


def prompt_of(index: int, asked: str | Row) -> Prompt:
    """What a caller asks: a text is what the user says, a row has `messages` that do not end with the assistant.

    Raises:
        DataProblemError: [predict/bad-prompt].
    """
    if isinstance(asked, str):
        asked = {"messages": [{"role": "user", "content": asked}]}
    try:
        messages = checked(asked.get("messages"))
    except RefusedRowError as refused:
        raise DataProblemError("predict/bad-prompt", refused.reason, where=f"item {index + 1}") from refused
    if messages[-1]["role"] == "assistant":
        raise DataProblemError(
            "predict/bad-prompt", "the assistant has spoken last: nothing is asked", where=f"item {index + 1}"
        )
    return Prompt(messages, asked.get("tools"))
