"""A tuned encoder with a decoder as a folder: final/ opens in plain transformers (and peft).

model.json              task, method, lengths, base: what the weights alone do not say
config.json, model.safetensors, generation_config.json      the whole model, for the methods full and freeze
adapter_config.json, adapter_model.safetensors              its adapter, for method lora
tokenizer.json ...      the base's own
USE.md                  how to open it without burnish
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.model.language import LanguageModel, load_language_model
from burnish.model.load import TOKENIZER_FILES, Base
from burnish.serving.adapter_files import describe_base, keeps_adapter, tidy_adapter
from burnish.serving.package import DESCRIPTION, base_of
from burnish.storage.durable import published_folder, require_undamaged, write_json, write_text

_OPEN_FULL = """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model = AutoModelForSeq2SeqLM.from_pretrained("final").eval()"""
_OPEN_LORA = """from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained({base!r}), "final").eval()"""
_WRITE = """
tokenizer = AutoTokenizer.from_pretrained("final")
inputs = tokenizer(["your text here"], return_tensors="pt", return_token_type_ids=False)
out = model.generate(**inputs, max_new_tokens={most}, do_sample=False, num_beams=1)
print(tokenizer.decode(out[0], skip_special_tokens=True))
"""


@dataclass(slots=True)
class PackagedSeq2Seq:
    """A tuned encoder with a decoder as loaded from its folder."""

    model: LanguageModel
    description: Mapping[str, Any]
    base: Base


def save_seq2seq(
    target: Path, model: LanguageModel, *, base: Base, max_length: int, max_target_length: int, task: str, method: str
) -> None:
    """Publishes the tuned model as `target`, complete with a manifest of its files.

    Args:
        max_length, max_target_length: tokens of a source that are read, and of a text that is written.
    """
    adapter = keeps_adapter(model, method, base)
    description = {
        "format": 1,
        "task": task,
        "method": method,
        "adapter": adapter,
        "max_length": max_length,
        "max_target_length": max_target_length,
        "base": describe_base(base, adapter=adapter),
    }
    core: Any = model.core
    with published_folder(target) as folder:
        core.save_pretrained(folder, safe_serialization=True)
        tidy_adapter(folder)
        for path in base.folder.iterdir():
            if path.is_file() and (path.name in TOKENIZER_FILES or path.suffix == ".model"):
                shutil.copyfile(path, folder / path.name)
        write_json(folder / DESCRIPTION, description)
        write_text(folder / "USE.md", write_without_burnish(description))


def load_seq2seq(folder: Path, *, runs: Path) -> PackagedSeq2Seq:
    """Opens a tuned encoder with a decoder; every byte is checked against its manifest first.

    Raises:
        DamagedStoreError: [storage/damaged].
        ModelError: [model/other-base] when the base under an adapter is not the one it was trained on.
    """
    require_undamaged(folder)
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    base = base_of(folder, description, runs)
    return PackagedSeq2Seq(load_language_model(base), description, base)


def write_without_burnish(description: Mapping[str, Any]) -> str:
    opening = _OPEN_LORA.format(base=description["base"]["folder"]) if description["adapter"] else _OPEN_FULL
    script = opening + _WRITE.format(most=description["max_target_length"])
    return f"# Without burnish\n\nRun beside the folder `final`:\n\n```python\n{script}```\n"
