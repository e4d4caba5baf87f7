"""Modelfile: how Ollama runs a GGUF file, its template in Go's language where the translation is certain.

Ollama does not read the Jinja of a GGUF file. A template that is one of burnish's own has a translation that was
written by hand; any other is refused, because a prompt that differs by a space is another prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from burnish.errors import ModelError
from burnish.model.template import OURS, ChatTemplate
from burnish.serving.exports.gguf import FILE
from burnish.storage.durable import write_text

MODELFILE = "Modelfile"
# Ollama writes what the assistant says behind the template, so it ends where the assistant begins.
_TRANSLATED: Mapping[str, str] = {
    "chatml": "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n",
    "plain": 'BOS{{ range .Messages }}{{ if eq .Role "system" }}System{{ else if eq .Role "assistant" }}Assistant'
    '{{ else }}User{{ end }}: {{ .Content }}{{ if eq .Role "assistant" }}EOS{{ end }}\n{{ end }}Assistant:',
}


def translated(template: ChatTemplate) -> str:
    """The template in Go's language, for conversations without tools.

    Raises:
        ModelError: [export/no-template] for one whose translation would be a guess.
    """
    name = next((each for each, source in OURS.items() if source == template.source), None)
    if name is None:
        raise ModelError(
            "export/no-template",
            "Ollama's templates are written in another language, and this base's own has no certain translation",
            where=template.name,
            known=sorted(_TRANSLATED),
            hint="export `gguf`, whose template llama.cpp reads; or train with one of ours: "
            "`model: {chat_template: chatml}`",
        )
    tokens = {"BOS": template.tokens.get("bos_token", ""), "EOS": template.tokens.get("eos_token", "")}
    text = _TRANSLATED[name]
    for mark, token in tokens.items():
        text = text.replace(mark, token)
    return text


def modelfile(template: ChatTemplate, *, stops: Sequence[str], context: int) -> str:
    """The Modelfile beside model.gguf.

    Args:
        stops: texts of the tokens that end a turn.
        context: tokens of prompt and answer together.
    """
    lines = [f"FROM ./{FILE}", f'TEMPLATE """{translated(template)}"""', f"PARAMETER num_ctx {context}"]
    return "\n".join([*lines, *(f"PARAMETER stop {json.dumps(stop)}" for stop in stops)]) + "\n"


def write_modelfile(folder: Path, template: ChatTemplate, *, stops: Sequence[str], context: int) -> None:
    """Writes the Modelfile: `ollama create NAME -f Modelfile` in the folder takes it."""
    write_text(folder / MODELFILE, modelfile(template, stops=stops, context=context))
