"""Calls of tools in what a model writes, in the form in which its own template writes them.

The template is asked how it writes a call: a conversation with a call of a made-up name is rendered, and what stands
around the JSON object with that name is the form. A template that writes calls in another way than as JSON objects
has no form that could be read back surely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from burnish.errors import ModelError
from burnish.model.template import ChatTemplate, RefusedConversationError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NAME, _ARGUMENT = "burnish_probe_name", "burnish_probe_argument"
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": _NAME,
            "description": "x",
            "parameters": {"type": "object", "properties": {_ARGUMENT: {"type": "string"}}, "required": [_ARGUMENT]},
        },
    }
]
_ASKED = [{"role": "user", "content": "x"}]
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a template writes a call.

    Attributes:
        before: stands before the JSON object; may be empty.
        behind: stands behind it.
        arguments: the key of the arguments beside "name".
    """

    before: str
    behind: str
    arguments: str

    def read(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """What is said beside the calls, and {"name", "arguments" as JSON} of each call.

        What only looks like a call stays part of the text.
        """
        calls: list[dict[str, Any]] = []
        said, place = "", 0
        while (start := text.find(self.before or "{", place)) >= 0:
            begin = start + len(self.before)
            begin += len(text[begin:]) - len(text[begin:].lstrip())
            call, end = self._call(text, begin)
            if call is None:
                said += text[place : start + 1]
                place = start + 1
                continue
            calls.append(call)
            said += text[place:start]
            rest = text[end:].lstrip()
            place = len(text) - len(rest) + len(self.behind) if self.behind and rest.startswith(self.behind) else end
        return (said + text[place:]).strip(), calls

    def needs_special(self, tokenizer: Tokenizer) -> bool | None:
        """Whether special tokens must be part of a text for its calls to be read; None when they cannot be read then
        either."""
        call = {"name": _NAME, self.arguments: {}}
        ids = tokenizer.encode(f"{self.before}{json.dumps(call)}{self.behind}", add_special_tokens=False).ids
        for special in (False, True):
            said, found = self.read(tokenizer.decode(ids, skip_special_tokens=not special))
            if found == [{"name": _NAME, "arguments": "{}"}] and not said:
                return special
        return None

    def _call(self, text: str, begin: int) -> tuple[dict[str, Any] | None, int]:
        try:
            value, end = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            return None, begin
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return None, begin
        arguments = value.get(self.arguments)
        if not isinstance(arguments, dict):
            return None, begin
        return {"name": value["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}, end


def call_form(template: ChatTemplate) -> CallForm | None:
    """How a template writes a call; None where it cannot be told."""
    return _form(template.source, tuple(sorted(template.tokens.items())), template.name)


@lru_cache(maxsize=64)
def _form(source: str, tokens: tuple[tuple[str, str], ...], name: str) -> CallForm | None:
    template = ChatTemplate(name, source, dict(tokens))
    call = {"name": _NAME, "arguments": json.dumps({_ARGUMENT: "y"})}
    spoken: Mapping[str, Any] = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "call00000", "type": "function", "function": call}],
    }
    try:
        before = template.render(_ASKED, tools=_TOOLS, add_generation_prompt=True)
        whole = template.render([*_ASKED, spoken], tools=_TOOLS)
        silent = template.render([*_ASKED, {"role": "assistant", "content": "burnish"}], tools=_TOOLS)
    except (RefusedConversationError, ModelError, ValueError):
        return None
    if not whole.startswith(before):
        return None
    turn = whole[len(before) :]
    tail = silent[len(before) :].partition("burnish")[2] if silent.startswith(before) else ""
    turn = turn.removesuffix(tail) if tail else turn
    found = _around(turn)
    if found is None:
        return None
    start, end, arguments = found
    return CallForm(turn[:start].strip(), turn[end:].strip(), arguments)


def _around(turn: str) -> tuple[int, int, str] | None:
    """Where the JSON object of the call stands in a turn, and its key of the arguments."""
    for start in (place for place, letter in enumerate(turn) if letter == "{"):
        try:
            value, end = _DECODER.raw_decode(turn, start)
        except ValueError:
            continue
        if isinstance(value, dict) and value.get("name") == _NAME:
            keys = [key for key, inner in value.items() if isinstance(inner, dict) and _ARGUMENT in inner]
            return (start, end, keys[0]) if keys else None
    return None
