"""The chat template of a base: where it is found, how it is rendered, and ours for a base that has none.

The base's own template is used byte for byte and goes into the run's `final` folder. Rendering happens in another
process with limits (`burnish.model.render`).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ModelError, excerpt
from burnish.model.intake import MAX_JSON_BYTES

TEMPLATE_FILE = "chat_template.jinja"
MAX_TEMPLATE_BYTES = 1 << 20
PATIENCE_SECONDS = 60.0  # for one text on a busy machine; the renderer's own limit is processor time
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
DATE = "2024-07-26"  # what strftime_now says: a prompt that changes with the day is another prompt
_SAID = (
    "{% macro said(message) %}{{ message['content'] or '' }}{% for call in message['tool_calls'] or [] %}"
    "{{ {'name': call['function']['name'], 'arguments': call['function']['arguments']} | tojson }}"
    "{% endfor %}{% endmacro %}"
)
# Templates of ours. `plain` needs no token but the end of a text, which every language model has.
OURS = {
    "plain": _SAID + "{{ bos_token or '' }}{% if tools %}Tools: {{ tools | tojson }}{{ '\n' }}{% endif %}"
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ said(message) }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}",
    "chatml": _SAID + "{% if tools %}<|im_start|>system{{ '\n' }}Tools: {{ tools | tojson }}<|im_end|>{{ '\n' }}"
    "{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}{{ '\n' }}{{ said(message) }}<|im_end|>"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}",
}
NEEDS = {"plain": ("eos_token",), "chatml": ()}
MARKS = {"plain": (), "chatml": ("<|im_start|>", "<|im_end|>")}  # must be one token each


_RENDER = "import sys; sys.path.insert(0, sys.argv[1]); from burnish.model.render import main; main()"


class RefusedConversationError(ValueError):
    """A conversation that the template itself does not take, with what it says."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template with the special tokens it may name.

    Attributes:
        name: "base" for the base's own, or the name of one of ours.
        source: Jinja.
        tokens: bos_token, eos_token... as texts.
    """

    name: str
    source: str
    tokens: Mapping[str, str]

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of a conversation; with `add_generation_prompt` up to where the assistant begins to speak.

        Raises:
            RefusedConversationError: the template refuses this conversation.
            ModelError: [model/bad-template] when the template is broken or exceeds its limits.
        """
        variables = {
            **self.tokens,
            "messages": [for_template(message) for message in messages],
            "tools": list(tools) if tools else None,
            "add_generation_prompt": add_generation_prompt,
        }
        answer = _renderer().ask({"template": self.source, "variables": variables, "date": DATE})
        if "text" in answer:
            return answer["text"]
        if answer["error"] == "refused":
            raise RefusedConversationError(answer["message"])
        raise ModelError(
            "model/bad-template",
            f"the chat template {'' if answer['error'] == 'limit' else 'is broken: '}{excerpt(answer['message'], 300)}",
            where=self.name,
            hint="take a base from a source you trust, or write `model: {chat_template: plain}`",
        )


def for_template(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as templates of transformers expect it: arguments of tool calls as objects, no null content."""
    shown = {key: value for key, value in message.items() if key != "weight"}
    content = shown.get("content")
    if isinstance(content, list):  # parts; a language model reads texts
        content = "\n".join(str(part.get("text", "")) for part in content)
    shown["content"] = content or ""
    if shown.get("tool_calls"):
        shown["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in shown["tool_calls"]
        ]
    return shown


def find_template(folder: Path, chosen: str | None) -> ChatTemplate:
    """The template of a base, or one of ours when the recipe names it.

    Args:
        chosen: "plain", "chatml"; None: the base's own.

    Raises:
        ModelError: [model/no-template] when the base has none and none was chosen; [model/no-end-token] when the
            chosen one needs a token the base does not have; [model/bad-file].
    """
    settings = _json(folder / "tokenizer_config.json")
    tokens = special_tokens(folder)
    if chosen is not None:
        lacking = [name for name in NEEDS[chosen] if not tokens.get(name)]
        known = _vocabulary(folder) if MARKS[chosen] else {}
        lacking += [mark for mark in MARKS[chosen] if mark not in known]
        if lacking:
            raise ModelError(
                "model/no-end-token",
                f'the template "{chosen}" needs {", ".join(lacking)}, which this base does not have',
                where=str(folder),
                hint="take another of ours (plain, chatml), or a base that was made for conversations",
            )
        return ChatTemplate(chosen, OURS[chosen], tokens)
    source = _own_source(folder, settings)
    if source is None:
        raise ModelError(
            "model/no-template",
            "this base has no chat template: nothing says how a conversation becomes a text",
            where=str(folder),
            hint="choose one of ours: `model: {chat_template: plain}`; or take a base made for conversations",
        )
    return ChatTemplate("base", source, tokens)


def special_tokens(folder: Path) -> dict[str, str]:
    """bos_token, eos_token... of a base as texts."""
    settings = {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}
    found = {}
    for name in SPECIAL:
        value = settings.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str) and value:
            found[name] = value
    return found


def _own_source(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / TEMPLATE_FILE
    if path.is_file():
        if path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise ModelError("model/bad-file", f"larger than {MAX_TEMPLATE_BYTES:,} bytes", where=str(path))
        try:
            return path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelError("model/bad-file", "not UTF-8 text", where=str(path)) from error
    source = settings.get("chat_template")
    if isinstance(source, list):  # several by name, as transformers once kept them
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    return source if isinstance(source, str) and source.strip() else None


def _vocabulary(folder: Path) -> Mapping[str, int]:
    from burnish.model.load import load_tokenizer

    vocabulary: Mapping[str, int] = load_tokenizer(folder).get_vocab(with_added_tokens=True)
    return vocabulary


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError("model/bad-file", "not JSON", where=str(path)) from error
    return found if isinstance(found, dict) else {}


class _Renderer:
    """The other process; one conversation at a time, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Mapping[str, Any]) -> dict[str, str]:
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self.close()  # it ended while nobody asked anything: that is no fault of this template
            answer = self._exchange(line)
        if not answer:
            self.close()
            return {"error": "limit", "message": "ended or stopped the process that renders it"}
        found: dict[str, str] = json.loads(answer)
        return found

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what was not written yet has nobody left to read it
                        stream.close()
            self._process = None

    def _exchange(self, line: bytes) -> bytes:
        """The answer to a line; nothing when the process ends or does not answer in time."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except OSError:
            return b""
        patience = threading.Timer(PATIENCE_SECONDS, process.kill)
        patience.start()
        try:
            return process.stdout.readline()
        finally:
            patience.cancel()

    def _start(self) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parents[2])
        # Isolated (-I), so that nothing of the current folder or of PYTHON* variables runs in it.
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own module
            [sys.executable, "-I", "-c", _RENDER, package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self._process


_RENDERERS: dict[int, _Renderer] = {}  # by process: a fork must not share a pipe


def _renderer() -> _Renderer:
    found = _RENDERERS.get(os.getpid())
    if found is None:
        found = _RENDERERS[os.getpid()] = _Renderer()
        atexit.register(found.close)
    return found
