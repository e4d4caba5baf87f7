"""The front matter of a model card: the YAML block at its top that model hubs read.

Source: https://huggingface.co/docs/hub/model-cards. Every value is written as JSON, which is YAML too: no name of a
user can begin another key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import entries, finite, metric_title
from burnish.model.bases import find_known
from burnish.model.catalogue import CATALOGUE
from burnish.model.license_terms import TERMS

PIPELINES = {  # task -> what hubs call it; a task they have no word for has none
    "text-classification": "text-classification",
    "hierarchical-classification": "text-classification",
    "multi-label-classification": "text-classification",
    "text-pair-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "chat": "text-generation",
    "preference": "text-generation",
    "embedding": "sentence-similarity",
    "image-classification": "image-classification",
}
METRICS = {  # ours -> the name of hubs' evaluation libraries
    "macro-f1": "f1",
    "micro-f1": "f1",
    "exact-match": "exact_match",
    "corpus-chrf": "chrf",
    "rouge-l": "rouge",
    "spearman": "spearmanr",
    "pearson": "pearsonr",
}
ADAPTED = ("lora", "qlora", "ia3", "prompt-tuning")  # methods whose folder peft opens


def front_matter(record: RunRecord) -> str:
    """The block with its fences; what is not known is left out."""
    task, method = str(record.manifest.get("task") or ""), str(record.manifest.get("method") or "")
    found: dict[str, Any] = {
        **_license(record.base.get("license")),
        "base_model": _hub_id(str(record.base.get("name") or "")),
        "pipeline_tag": _pipeline(record, task),
        "library_name": "peft" if method in ADAPTED else None if task == "tabular" else "transformers",
        "tags": ["burnish", *filter(None, (task, method))],
        "metrics": sorted({METRICS.get(name, name) for name in entries(record.models.get("tuned"))}),
        "model-index": _results(record, task),
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items() if value]
    return "\n".join(["---", *lines, "---"])


def _license(name: object) -> dict[str, str]:
    """As hubs name it; one that they do not know is "other" with its own name."""
    if not name:
        return {}
    known = str(name).lower()
    return {"license": known} if known in TERMS else {"license": "other", "license_name": str(name)[:100]}


def _hub_id(name: str) -> str | None:
    """The base's id on the hub; None for a folder, whose path is nobody else's business."""
    if name in CATALOGUE:
        return CATALOGUE[name].hub_id
    known = find_known(name)
    return known.name if known else None


def _pipeline(record: RunRecord, task: str) -> str | None:
    if task == "tabular":
        return "tabular-classification" if record.evaluation.get("labels") else "tabular-regression"
    return PIPELINES.get(task)


def _results(record: RunRecord, task: str) -> list[Mapping[str, Any]]:
    """The measured values as hubs list them beside the model."""
    measured = [
        {"type": METRICS.get(name, name), "name": metric_title(name), "value": value}
        for name, entry in entries(record.models.get("tuned")).items()
        if (value := finite(entries(entry).get("value"))) is not None
    ]
    if not measured:
        return []
    rows = {"name": "sealed test rows", "type": f"data version {str(record.data.get('version') or 'unknown')[:12]}"}
    kind = {"type": _pipeline(record, task) or task or "other"}
    return [{"name": record.id, "results": [{"task": kind, "dataset": rows, "metrics": measured}]}]
