"""USE.md: a script that opens a tuned model with transformers (and peft) alone, for each kind of task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.model.pooled import READ
from burnish.serving.adapter_files import BOTTLENECKS_PUT_BACK
from burnish.task.build import TASKS, worked_as
from burnish.task.text_classification import TextClassification

_FULL = """from transformers import AutoModel
encoder = AutoModel.from_pretrained("final").eval()"""
_PEFT = """from transformers import AutoModel
from peft import PeftModel
encoder = PeftModel.from_pretrained(AutoModel.from_pretrained({base!r}), "final").eval()"""
_ADAPTER = (
    """from transformers import AutoModel
encoder = AutoModel.from_pretrained({base!r}).eval()"""
    + BOTTLENECKS_PUT_BACK
)
_FILES = """
import json, pathlib, torch
from safetensors.torch import load_file
from transformers import AutoTokenizer
about = json.loads(pathlib.Path("final/model.json").read_text("utf-8"))
head = load_file("final/head.safetensors")
tokenizer = AutoTokenizer.from_pretrained("final")
cut = {"truncation": True, "max_length": about["max_length"], "return_tensors": "pt"}
"""
_HIDDEN = """
with torch.no_grad():
    hidden = encoder(**batch).last_hidden_state
"""
_BEHIND_PROMPT = "hidden = hidden[:, encoder.active_peft_config.num_virtual_tokens :]\n"
_POOL = {
    "mean": "mask = batch['attention_mask'].unsqueeze(-1)\npooled = (hidden * mask).sum(1) / mask.sum(1)",
    "first": "pooled = hidden[:, 0]",
    "last": "pooled = hidden[torch.arange(len(hidden)), batch['attention_mask'].sum(1) - 1]",
    READ: "words = batch.word_ids()\npooled = hidden[0, [words.index(i) for i in range(len(tokens)) if i in words]]",
}
_LOGITS = """
logits = pooled @ head["weight"].T + head["bias"]
"""
_ONE_TEXT = 'texts = ["your text here"]\nbatch = tokenizer(texts, padding=True, **cut)'
_TWO_TEXTS = """firsts, seconds = ["one text here"], ["the other one"]
batch = tokenizer(firsts, seconds, padding=True, return_token_type_ids=about["token_types"], **cut)"""
_BEST_LABEL = 'print([about["labels"][i] for i in logits.argmax(dim=1)])'
_NUMBER = "print((about['mean'] + about['deviation'] * logits[:, 0]).tolist())"
_ASKS = {  # how a row becomes `batch`
    "text-pair-classification": _TWO_TEXTS,
    "text-pair-regression": _TWO_TEXTS,
    "question-answering": """question, context = "your question", "the text that answers it"
cut["truncation"] = "only_second"
batch = tokenizer(question, context, return_token_type_ids=about["token_types"], return_offsets_mapping=True, **cut)
characters = batch.pop("offset_mapping")[0].tolist()""",
    "token-classification": 'tokens = ["your", "tokens", "here"]\n'
    "batch = tokenizer(tokens, is_split_into_words=True, **cut)",
}
_POOLED = {"question-answering": "pooled = hidden[0]"}  # where it is not how the base pools
_ANSWERS = {  # how `logits` become an answer
    "question-answering": """own = [i for i, side in enumerate(batch.sequence_ids()) if side == 1]
pairs = [(0, 0)] + [(i, j) for i in own for j in own if i <= j < i + 30]
start, end = max(pairs, key=lambda pair: float(logits[pair[0], 0] + logits[pair[1], 1]))
print([context[characters[start][0]:characters[end][1]]])""",
    "text-regression": _NUMBER,
    "text-pair-regression": _NUMBER,
    "multi-label-classification": "print([[name for name, x in zip(about['labels'], own) if x >= 0] "
    "for own in logits])",
}


def use_without_burnish(description: Mapping[str, Any]) -> str:
    """USE.md of a model with a head."""
    base, task = description["base"], description["task"]
    if description["head"] != "linear":
        return "# Without burnish\n\nThis model has its own head; its weights are in head.safetensors.\n"
    opening = _FULL
    if description["adapter"]:
        opening = _ADAPTER if description["method"] == "adapter" else _PEFT
        opening = opening.format(base=base["folder"], model="encoder")
    task_class = TASKS.get(task, TextClassification)
    asks, answers = (worked_as(task_class, known) or "" for known in (_ASKS, _ANSWERS))
    pool = _POOLED.get(task) or _POOL[description["pooling"]]
    if description["normalize"]:
        pool += "\npooled = torch.nn.functional.normalize(pooled, dim=-1)"
    if description["method"] == "prompt-tuning":
        pool = _BEHIND_PROMPT + pool
    asked, answered = _ASKS.get(asks, _ONE_TEXT), _ANSWERS.get(answers, _BEST_LABEL)
    script = opening + _FILES + asked + _HIDDEN + pool + _LOGITS + answered
    return f"# Without burnish\n\nRun beside the folder `final`:\n\n```python\n{script}\n```\n"
