"""The Modelfile, and the templates whose translation is certain."""

from __future__ import annotations

import pytest

from burnish.errors import ModelError
from burnish.model.template import OURS, ChatTemplate
from burnish.serving.exports.ollama import modelfile, translated

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def test_chatml_in_gos_language() -> None:
    text = translated(ChatTemplate("chatml", OURS["chatml"], {}))
    assert text == (
        "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
    )


def test_plain_names_the_tokens_of_the_base() -> None:
    text = translated(ChatTemplate("plain", OURS["plain"], TOKENS))
    assert text.startswith('<s>{{ range .Messages }}{{ if eq .Role "system" }}System')
    assert text.endswith('{{ if eq .Role "assistant" }}</s>{{ end }}\n{{ end }}Assistant:')


def test_a_modelfile() -> None:
    found = modelfile(ChatTemplate("chatml", OURS["chatml"], {}), stops=["<|im_end|>", 'a"b'], context=512)
    assert found.splitlines()[0] == "FROM ./model.gguf"
    assert 'TEMPLATE """{{ range' in found
    assert 'PARAMETER num_ctx 512\nPARAMETER stop "<|im_end|>"\nPARAMETER stop "a\\"b"\n' in found


def test_any_other_template_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        translated(ChatTemplate("base", OURS["chatml"] + " ", {}))
    error = caught.value
    assert (error.code, error.where, error.known) == ("export/no-template", "base", ("chatml", "plain"))
    assert "gguf" in str(error.hint)
