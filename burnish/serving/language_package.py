"""A tuned language model as a folder: final/ opens in plain transformers (and peft), with its template.

model.json              task, method, template, tokens that end a turn, base: what the weights alone do not say
config.json, model.safetensors, generation_config.json      the whole model, for method full
adapter_config.json, adapter_model.safetensors              its adapter, for lora, qlora, ia3 and prompt-tuning
bottleneck.safetensors                                      the same for method adapter, which peft does not know
tokenizer.json ...      the base's own, with chat_template.jinja where the template is one of burnish's
USE.md                  how to open it without burnish
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.model.language import LanguageModel, load_language_model
from burnish.model.load import TOKENIZER_FILES, Base
from burnish.model.template import TEMPLATE_FILE, ChatTemplate, special_tokens
from burnish.serving.adapter_files import (
    BOTTLENECKS_PUT_BACK,
    describe_base,
    keeps_adapter,
    tidy_adapter,
    write_adapter,
)
from burnish.serving.package import DESCRIPTION, base_of
from burnish.storage.durable import published_folder, require_undamaged, write_json, write_text

_OPEN_FULL = """from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("final").eval()"""
_OPEN_PEFT = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), "final").eval()"""
_OPEN_QLORA = """import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                               bnb_4bit_compute_dtype=torch.float32)
base = AutoModelForCausalLM.from_pretrained({base!r}, quantization_config=four_bits)
model = PeftModel.from_pretrained(base, "final").eval()"""
_OPEN_ADAPTER = (
    """from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained({base!r}).eval()"""
    + BOTTLENECKS_PUT_BACK
)
_ANSWER = """
tokenizer = AutoTokenizer.from_pretrained("final")
messages = [{{"role": "user", "content": "your question here"}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**inputs, max_new_tokens=256, do_sample=False, eos_token_id={ends})
print(tokenizer.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


@dataclass(slots=True)
class PackagedLanguageModel:
    """A tuned language model as loaded from its folder."""

    model: LanguageModel
    template: ChatTemplate
    description: Mapping[str, Any]
    base: Base


def save_language_model(
    target: Path,
    model: LanguageModel,
    *,
    base: Base,
    template: ChatTemplate,
    ends: Sequence[int],
    task: str,
    method: str,
) -> None:
    """Publishes the tuned model as `target`, complete with a manifest of its files.

    Args:
        ends: tokens that end a turn of the assistant.
    """
    adapter = keeps_adapter(model, method, base)
    description = {
        "format": 1,
        "task": task,
        "method": method,
        "adapter": adapter,
        "template": template.name,
        "ends": list(ends),
        "max_length": base.context,
        "base": describe_base(base, adapter=adapter),
    }
    settings = getattr(model.causal, "generation_config", None)
    if settings is not None:
        settings.eos_token_id = list(ends)
    core: Any = model.core
    with published_folder(target) as folder:
        if not write_adapter(folder, model, base):
            core.save_pretrained(folder, safe_serialization=True)
            tidy_adapter(folder)
        for path in base.folder.iterdir():
            if path.is_file() and (path.name in (*TOKENIZER_FILES, TEMPLATE_FILE) or path.suffix == ".model"):
                shutil.copyfile(path, folder / path.name)
        if template.name != "base":
            write_text(folder / TEMPLATE_FILE, template.source)
        write_json(folder / DESCRIPTION, description)
        write_text(folder / "USE.md", answer_without_burnish(description))


def load_packaged_language_model(folder: Path, *, runs: Path) -> PackagedLanguageModel:
    """Opens a tuned language model; every byte is checked against its manifest first.

    Raises:
        DamagedStoreError: [storage/damaged].
        ModelError: [model/other-base] when the base under an adapter is not the one it was trained on.
    """
    require_undamaged(folder)
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    base = base_of(folder, description, runs)
    template = packaged_template(folder, description)
    return PackagedLanguageModel(load_language_model(base), template, description, base)


def packaged_template(folder: Path, description: Mapping[str, Any]) -> ChatTemplate:
    """The template a model was trained with, from its own folder."""
    from burnish.model.template import find_template

    if description["template"] == "base":
        return find_template(folder, None)
    source = (folder / TEMPLATE_FILE).read_bytes().decode("utf-8")
    return ChatTemplate(description["template"], source, special_tokens(folder))


def answer_without_burnish(description: Mapping[str, Any]) -> str:
    opening = _OPEN_FULL
    if description["adapter"]:
        opening = _OPEN_ADAPTER if description["method"] == "adapter" else _OPEN_PEFT
        if description["base"]["quantization"]:
            opening = _OPEN_QLORA
        opening = opening.format(base=description["base"]["folder"], model="model")
    script = opening + _ANSWER.format(ends=description["ends"])
    return f"# Without burnish\n\nRun beside the folder `final`:\n\n```python\n{script}```\n"
