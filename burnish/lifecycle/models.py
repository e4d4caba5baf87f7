"""Which base to start from: the catalogue searched, a base shown with what it needs here, a folder checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from burnish.errors import RecipeError, nearest
from burnish.lifecycle.forecast import SPARE
from burnish.model.bases import BASES, READ, TASKS_OF, Kind, KnownBase, find_known
from burnish.model.find import find_base
from burnish.model.fit import Learning, Memory, machine_memory, predict_memory, shape_of
from burnish.model.intake import inspect_model_folder
from burnish.model.license import license_of_folder, license_text_sha256
from burnish.model.license_terms import TERMS, Use
from burnish.model.load import Base
from burnish.model.options import ModelOptions
from burnish.settings import settings

TOKENS, LONGEST = 1_024, 256  # of the training that needs are shown for
AMOUNTS = {"head": 0, "lora": 16, "qlora": 16, "freeze": 2, "full": 0}  # method -> rank, or layers
METHODS: dict[Kind, tuple[str, ...]] = {
    "encoder": ("head", "lora", "freeze", "full"),
    "embedding": ("head", "lora", "freeze", "full"),
    "language": ("lora", "qlora", "full"),
    "seq2seq": ("lora", "full"),
    "image": ("head", "full"),
}


def search_bases(
    words: Sequence[str] = (),
    *,
    task: str | None = None,
    use: Use | None = None,
    max_parameters: int | None = None,
    fits: bool = False,
) -> list[dict[str, Any]]:
    """Bases of the catalogue, smallest first, each with its license and the cheapest method's memory.

    Args:
        words: all of them in the name, kind, family, languages, license or tasks.
        task: what is to be learned.
        use: left out are those whose license forbids it or is not known.
        fits: only those that can be trained in the memory that is free here now.

    Raises:
        RecipeError: [recipe/unknown-task].
    """
    known_tasks = sorted({name for tasks in TASKS_OF.values() for name in tasks})
    if task is not None and task not in known_tasks:
        close = nearest(task, known_tasks)
        raise RecipeError(
            "recipe/unknown-task",
            f'there is no base for a task "{task}"',
            where="--task",
            known=known_tasks,
            hint=f'did you mean "{close}"?' if close else None,
        )
    free = machine_memory()[1]
    found = [base for base in BASES if all(word.lower() in _words(base) for word in words)]
    found = [base for base in found if task is None or task in base.tasks]
    found = [base for base in found if max_parameters is None or base.parameters <= max_parameters]
    found = [base for base in found if use is None or (base.license in TERMS and TERMS[base.license].allows(use))]
    rows = [_row(base, free) for base in sorted(found, key=lambda base: base.parameters)]
    return [row for row in rows if row["fits"] or not fits]


def is_base(name: str) -> bool:
    """Whether a word names a base of the catalogue, a folder or a run, and so no version."""
    return find_known(name) is not None or Path(name).is_dir() or (settings().runs / name).is_dir()


def show_base(name: str) -> dict[str, Any]:
    """A base by name or folder: its facts and license, what each method needs here, and the ladder it stands on.

    Raises:
        ModelError: [model/unknown-base], and those of the intake for a folder.
    """
    known = find_known(name)
    if known is None:
        return _found(find_base(ModelOptions(base=name), recipe_folder=Path(), runs=settings().runs))
    free = machine_memory()[1]
    return {
        **dataclasses.asdict(known),
        "tasks": list(known.tasks),
        "read": READ,
        "terms": _terms(known.license),
        "needs": _needs(known, METHODS[known.kind], free),
        "ladder": [_row(base, free) for base in BASES if base.kind == known.kind],
        "free_bytes": free,
    }


def check_folder(folder: Path) -> dict[str, Any]:
    """What a model folder holds, read without loading it: weights, what is never opened, license.

    Raises:
        ModelError: those of the intake.
    """
    inspection = inspect_model_folder(folder)
    named = license_of_folder(folder)
    return {
        "folder": str(folder),
        "model_type": inspection.model_type,
        "parameters": inspection.parameters,
        "weight_files": list(inspection.weight_files),
        "never_opened": list(inspection.ignored),
        "license": named[0] if named else None,
        "written_in": named[1] if named else None,
        "license_sha256": license_text_sha256(folder),
        "terms": _terms(named[0]) if named else None,
    }


def _found(base: Base) -> dict[str, Any]:
    free = machine_memory()[1]
    kind: Kind = "language" if base.generates else "seq2seq" if base.has_decoder else "encoder"
    return {
        **base.describe(),
        "folder": str(base.folder),
        "license_sha256": license_text_sha256(base.folder),
        "terms": _terms(base.license),
        "needs": _needs(base, METHODS[kind], free),
        "ladder": [_row(known, free) for known in BASES if known.kind == kind],
        "free_bytes": free,
    }


def _words(base: KnownBase) -> str:
    return " ".join((base.name, base.kind, base.family, base.languages, base.license, *base.tasks)).lower()


def _row(base: KnownBase, free: int) -> dict[str, Any]:
    """One line of a list: the cheapest method that changes the base itself."""
    method = "lora" if "lora" in METHODS[base.kind] else "full"
    need = _need(base, method).total
    return {
        "name": base.name,
        "kind": base.kind,
        "parameters": base.parameters,
        "context": base.context,
        "languages": base.languages,
        "license": base.license,
        "method": method,
        "needs_bytes": need,
        "fits": need <= SPARE * free,
        "safetensors": base.safetensors,
    }


def _needs(base: Base | KnownBase, methods: Sequence[str], free: int) -> list[dict[str, Any]]:
    found = [(method, _need(base, method)) for method in methods]
    return [{"method": name, "fits": memory.total <= SPARE * free, **memory.as_dict()} for name, memory in found]


def _need(base: Base | KnownBase, method: str) -> Memory:
    learning = Learning(method=method, amount=AMOUNTS[method])
    return predict_memory(shape_of(base), learning, tokens=TOKENS, longest=LONGEST, rows_at_once=4)


def _terms(name: str | None) -> dict[str, Any] | None:
    terms = TERMS.get((name or "").lower())
    return None if terms is None else {**dataclasses.asdict(terms), "forbids": dict(terms.forbids)}
