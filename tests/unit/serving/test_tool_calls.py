"""Calls of tools are read in the form that the model's own template writes them in."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from burnish.model.template import OURS, ChatTemplate
from burnish.serving.spelling import Spelling
from burnish.serving.tool_calls import CallForm, call_form

HERMES = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = HERMES.replace("arguments", "parameters").replace("function.parameters", "function.arguments")
TEMPLATES = {"hermes": HERMES, "llama": LLAMA, **OURS}


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_template_writes_is_read_back(name: str) -> None:
    template = ChatTemplate(name, TEMPLATES[name], {"eos_token": "</s>", "bos_token": "<s>"})
    form = call_form(template)
    assert form is not None
    calls = [
        {"name": "weather", "arguments": {"city": "Köln", "days": [1, {"a": None}]}},
        {"name": "b", "arguments": {}},
    ]
    spoken = {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {**call, "arguments": json.dumps(call["arguments"])}}
            for call in calls
        ],
    }
    asked = [{"role": "user", "content": "x"}]
    before = template.render(asked, tools=[{"type": "function"}], add_generation_prompt=True)
    whole = template.render([*asked, spoken], tools=[{"type": "function"}])
    said = whole[len(before) :].removesuffix("\n").removesuffix("<|im_end|>").removesuffix("</s>")
    text, found = form.read(said)
    assert text == "Let me see."
    assert [{**call, "arguments": json.loads(call["arguments"])} for call in found] == calls


def test_what_only_looks_like_a_call_stays_text() -> None:
    form = call_form(ChatTemplate("x", HERMES, {}))
    assert form is not None
    for said in (
        "<tool_call> {not json}",
        'a <tool_call>{"name": 1}</tool_call>',
        "{}",
        '{"name": "x", "arguments": {}}',
    ):
        assert form.read(said) == (said, [])


def test_a_template_without_calls_has_no_form() -> None:
    assert call_form(ChatTemplate("x", "{% for m in messages %}{{ m.content }}{% endfor %}", {})) is None


@pytest.mark.parametrize(("marked", "needed"), [("plain", False), ("special", True), ("lost", None)])
def test_a_marker_that_is_a_special_token_is_kept_or_tools_are_refused(marked: str, needed: bool | None) -> None:
    form = CallForm("[TOOL_CALLS] [", "]", "arguments")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if marked == "special":
        tokenizer.add_special_tokens(["[TOOL_CALLS]"])
    elif marked == "lost":
        tokenizer.normalizer = normalizers.Replace("[TOOL_CALLS]", "")
    assert form.needs_special(tokenizer) is needed
    if needed is not None:
        ids = tokenizer.encode('[TOOL_CALLS] [{"name": "f", "arguments": {}}]').ids
        spelling = Spelling(tokenizer, special=needed)
        text = "".join(map(spelling.push, ids)) + spelling.finish()
        assert form.read(text) == ("", [{"name": "f", "arguments": "{}"}])
