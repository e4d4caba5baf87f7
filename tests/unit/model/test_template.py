"""Templates: found where bases keep them, rendered as transformers renders them, stopped when they are hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from burnish.errors import ModelError
from burnish.model.template import (
    OURS,
    ChatTemplate,
    RefusedConversationError,
    _renderer,
    find_template,
    special_tokens,
)

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Grüße <b> & 'x' 日本\n"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"b": "ü", "a": 1}'}}],
    },
    {"role": "tool", "content": "[1, 2]", "tool_call_id": "1"},
    {"role": "assistant", "content": "done", "weight": 1},
]
AS_TRANSFORMERS_WANTS: list[dict[str, Any]] = [
    {**message, "content": message["content"] or ""} for message in json.loads(json.dumps(MESSAGES))
]
AS_TRANSFORMERS_WANTS[2]["tool_calls"][0]["function"]["arguments"] = {"b": "ü", "a": 1}
del AS_TRANSFORMERS_WANTS[4]["weight"]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
TEMPLATES = {
    **OURS,
    "whitespace": "{% for m in messages %}\n  {% if m.content %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\nend",
    "json": "{{ tools | tojson }}{{ tools | tojson(indent=2) }}{{ messages[0] | tojson(sort_keys=true) }}",
    "loop controls": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}",
    "calls": "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{{ c.id }}"
    "{% endfor %}{% endfor %}",
    "undefined": "{{ nothing }}{{ messages[0].nothing or 'x' }}{{ (messages | length) is number }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "macro": "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages[0].role) }}{{ messages[0].content.split('.')[0] }}",
}


def chat(source: str) -> ChatTemplate:
    return ChatTemplate("test", source, {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompt", [False, True])
def test_byte_for_byte_what_transformers_renders(name: str, prompt: bool) -> None:
    ours = chat(TEMPLATES[name]).render(MESSAGES, tools=TOOLS, add_generation_prompt=prompt)
    (theirs,), _ = render_jinja_template(
        conversations=[AS_TRANSFORMERS_WANTS],
        tools=TOOLS,
        chat_template=TEMPLATES[name],
        add_generation_prompt=prompt,
        bos_token="<s>",
        eos_token="</s>",
    )
    assert ours == theirs


def test_a_day_is_always_the_same() -> None:
    """A prompt that changed with the day would not be the prompt the model was trained with."""
    assert chat("{{ strftime_now('%d %b %Y') }}").render(MESSAGES) == "26 Jul 2024"


def test_parts_of_a_message_are_read_as_text() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert chat("{{ messages[0].content }}").render(parts) == "a\nb"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ 'a' * 10**11 }}", "more memory"),
        ("{{ 'x'.rjust(10**10) }}", "more memory"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99) %}{% endfor %}{% endfor %}"
            "{% endfor %}",
            "more than 2 seconds",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.system('touch HACKED') }}", "SecurityError|UndefinedError"),
        ("{% include '/etc/passwd' %}", "TypeError|TemplateNotFound"),
        ("{% if %}", "line 1"),
        ("{{ 'ab' * 20000000 }}", "more than 16,777,216 characters"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="limits of a process need POSIX")
def test_hostile_templates_are_stopped(source: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words) as error:
        chat(source).render(MESSAGES)
    assert error.value.code == "model/bad-template"
    assert not list(tmp_path.iterdir())
    assert chat("{{ messages[0].role }}").render(MESSAGES) == "system", "the next text is rendered as ever"


def test_a_renderer_that_was_killed_is_replaced() -> None:
    template = ChatTemplate("base", "{{ messages[0].content }}", {})
    said = [{"role": "user", "content": "hi"}]
    assert template.render(said) == "hi"
    process = _renderer()._process
    assert process is not None
    process.kill()
    process.wait()
    assert template.render(said) == "hi"


def test_a_template_may_refuse_a_conversation() -> None:
    with pytest.raises(RefusedConversationError, match="no system here"):
        chat("{{ raise_exception('no system here') }}").render(MESSAGES)


def base_folder(folder: Path, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_where_bases_keep_their_template(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "a", eos_token={"content": "</s>"}, bos_token="<s>", chat_template="from settings")
    found = find_template(folder, None)
    assert (found.name, found.source, found.tokens) == (
        "base",
        "from settings",
        {"bos_token": "<s>", "eos_token": "</s>"},
    )
    (folder / "chat_template.jinja").write_text("from a file\n")
    assert find_template(folder, None).source == "from a file\n"
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert find_template(base_folder(tmp_path / "b", chat_template=named), None).source == "d"


def test_a_base_without_a_template_gets_none_silently(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "a", eos_token="</s>")
    with pytest.raises(ModelError, match="no chat template") as error:
        find_template(folder, None)
    assert error.value.code == "model/no-template"
    assert "chat_template: plain" in str(error.value)
    assert find_template(folder, "plain").name == "plain"


def test_a_template_of_ours_needs_its_tokens(tmp_path: Path, sentence_base: Path) -> None:
    with pytest.raises(ModelError, match="needs eos_token") as error:
        find_template(base_folder(tmp_path / "a"), "plain")
    assert error.value.code == "model/no-end-token"
    with pytest.raises(ModelError, match=r"needs <\|im_start\|>, <\|im_end\|>"):
        find_template(sentence_base, "chatml")


def test_special_tokens_of_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<e>", "pad_token": None}))
    assert special_tokens(tmp_path) == {"eos_token": "<e>"}
