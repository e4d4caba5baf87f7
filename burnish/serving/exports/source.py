"""A tuned model as its exports need it: in the plain architecture of transformers, its weights whole."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import UsageError
from burnish.model.load import Base, load_pretrained
from burnish.serving.exports.kinds import CHATS
from burnish.serving.package import DESCRIPTION, base_of
from burnish.storage.durable import require_undamaged
from burnish.storage.tensors import load_tensors

if TYPE_CHECKING:
    from torch import Tensor

HEAD = "head.safetensors"


@dataclass(frozen=True, slots=True)
class Source:
    """What an export is written from.

    Attributes:
        final: the run's folder of the model: its tokenizer, template and settings are copied from here.
        description: its model.json.
        core: module of transformers, what was learned merged into it; a table's model is burnish's own.
        head: "weight" (C, D) and "bias" (C,) of a linear head beside the core; None where the core is all.
        base: None for a table, which has none.
    """

    final: Path
    description: Mapping[str, Any]
    core: Any
    head: Mapping[str, Tensor] | None
    base: Base | None

    @property
    def task(self) -> str:
        return str(self.description["task"])


def describe(final: Path) -> Mapping[str, Any]:
    """model.json of a run's model; every byte of the folder is checked against its manifest first.

    Raises:
        DamagedStoreError: [storage/damaged].
        UsageError: [export/own-head] for a head of the caller's own, which no other program knows; [export/trees]
            for a table whose trees answer.
    """
    require_undamaged(final)
    description: Mapping[str, Any] = json.loads((final / DESCRIPTION).read_text(encoding="utf-8"))
    if description.get("head", "linear") != "linear":
        raise UsageError(
            "export/own-head",
            f"this model has its own head, {description['head']}, which no other program knows",
            where=str(final),
            hint="its weights are in head.safetensors",
        )
    if description.get("uses") == "trees":
        raise UsageError(
            "export/trees",
            "of this run the trees answer, and not the transformer",
            where=str(final),
            hint="trees.txt there opens in plain LightGBM as it is; USE.md says how",
        )
    return description


def open_source(final: Path, *, runs: Path) -> Source:
    """The model of a run with what it learned merged in: never into weights of four bits.

    Raises:
        ModelError: as `load_pretrained`; [model/other-base].
    """
    description = describe(final)
    if description["task"] == "tabular":
        from burnish.serving.table_package import load_table_model

        return Source(final, description, load_table_model(final).model.eval(), None, None)
    base = base_of(final, description, runs)
    if description["task"] == "image-classification":
        from transformers import AutoModelForImageClassification

        core = AutoModelForImageClassification.from_pretrained(final, local_files_only=True, trust_remote_code=False)
        return Source(final, description, core.eval(), None, base)
    core = load_pretrained(base, head=writes(str(description["task"]))).eval()
    head = load_tensors(final / HEAD) if (final / HEAD).is_file() else None
    return Source(final, description, core, head, base)


def writes(task: str) -> bool:
    """Whether a model of the task writes texts."""
    return task in (*CHATS, "seq2seq")


def takes_types(core: Any) -> bool:
    """Whether a model tells two texts apart by a number beside each token; peft's is asked for the one inside."""
    inside = core.get_base_model() if hasattr(core, "get_base_model") else core
    return "token_type_ids" in inspect.signature(inside.forward).parameters


def pad_of(core: Any) -> int:
    """Token that fills the shorter rows of a batch; it is masked, but some families count positions by it."""
    return int(getattr(getattr(core, "config", None), "pad_token_id", None) or 0)
