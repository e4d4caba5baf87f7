"""Which tokens of a conversation are learned: found by rendering its beginnings and comparing tokens.

Before each turn of the assistant the conversation is rendered as it will be when the model has to speak, and after it
once more. What lies between is what the model has to say there, up to and with the token that ends its turn. Nothing
is searched for in texts, so no word of a user can be taken for a mark.

Shapes: S tokens of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from burnish.errors import excerpt
from burnish.model.template import ChatTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Message = Mapping[str, Any]


class UnmaskableError(ValueError):
    """A conversation whose learned tokens cannot be located exactly, and why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that attend to each other, (S,), and which of them are learned, (S,) bool."""

    token_ids: np.ndarray[Any, Any]
    learned: np.ndarray[Any, Any]

    @property
    def length(self) -> int:
        return len(self.token_ids)


class Masker:
    """Turns conversations into tokens that know whether they are learned.

    Args:
        template: of the base.
        tokenizer: of the base, without truncation.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self.template = template
        self.tokenizer = tokenizer
        marks = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        end = tokenizer.token_to_id(template.tokens.get("eos_token", ""))
        self.marks = marks if end is None else marks | {end}

    def segments(self, messages: Sequence[Message], tools: Sequence[Message] | None) -> list[Segment]:
        """The conversation as one segment; as one for each learned turn where the template rewrites earlier turns.

        A template that leaves out what the assistant thought in earlier turns shows the model another text at each
        turn. Each learned turn then stands behind the text it will stand behind.

        Raises:
            UnmaskableError: [chat/refused] by the template; [chat/no-end-of-turn], [chat/prompt-differs],
                [chat/token-boundary] when the learned tokens are not exactly those the model has to say.
        """
        turns = [
            index
            for index, message in enumerate(messages)
            if message["role"] == "assistant" and message.get("weight", 1)
        ]
        if not turns:
            raise UnmaskableError("chat/nothing-learned", "no turn of the assistant is learned")
        whole = self.template.render(messages, tools=tools)
        through = {i: whole if i == len(messages) - 1 else self._through(messages, i, tools) for i in turns}
        if all(whole.startswith(text) for text in through.values()):
            ids = self._ids(whole)
            learned = np.zeros(len(ids), bool)
            for index in turns:
                start, end = self._span(messages, index, tools, through[index], ids)
                learned[start:end] = True
            return [Segment(np.array(ids, np.int64), learned)]
        found = []
        for index in turns:
            ids = self._ids(through[index])
            start, end = self._span(messages, index, tools, through[index], ids)
            learned = np.zeros(end, bool)
            learned[start:end] = True
            found.append(Segment(np.array(ids[:end], np.int64), learned))
        return found

    def prompt(self, messages: Sequence[Message], tools: Sequence[Message] | None) -> list[int]:
        """Token ids up to where the assistant begins to speak: what it is given when it has to answer."""
        return self._ids(self.template.render(messages, tools=tools, add_generation_prompt=True))

    def _through(self, messages: Sequence[Message], index: int, tools: Sequence[Message] | None) -> str:
        return self.template.render(messages[: index + 1], tools=tools)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _span(
        self, messages: Sequence[Message], index: int, tools: Sequence[Message] | None, through: str, ids: list[int]
    ) -> tuple[int, int]:
        """First learned token of a turn, and the one behind its end."""
        before = self.template.render(messages[:index], tools=tools, add_generation_prompt=True)
        if not through.startswith(before):
            raise UnmaskableError(
                "chat/prompt-differs",
                f"turn {index + 1}: what the model is given ends with {_end(before)}, in the conversation it is "
                f"{_end(through[: len(before)])}",
            )
        given, told = self._ids(before), self._ids(through)
        if ids[: len(given)] != given or told[: len(given)] != given:
            raise UnmaskableError(
                "chat/token-boundary",
                f"turn {index + 1}: its first token also holds the end of the prompt, {_end(before)}",
            )
        end = next((i for i in range(len(told) - 1, len(given) - 1, -1) if told[i] in self.marks), None)
        if end is None or self.tokenizer.decode(told[end + 1 :], skip_special_tokens=False).strip():
            raise UnmaskableError(
                "chat/no-end-of-turn",
                f"turn {index + 1}: no token ends it, it ends with {_end(through)}; the model would never stop",
            )
        if ids[: end + 1] != told[: end + 1]:
            raise UnmaskableError("chat/token-boundary", f"turn {index + 1}: its tokens depend on what follows it")
        return len(given), end + 1


def _end(text: str) -> str:
    return f'"{excerpt(text[-30:])}"'
