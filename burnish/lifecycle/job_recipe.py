"""From a request of the fine-tuning protocol to a recipe: every field checked, "auto" turned into numbers, no paths.

The recipe of a job is a sparse tree: what the request says and what the service decides, so that everything else is
inferred as for any run. Base and files are put in by the worker; nothing that a client says ever becomes a path.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from burnish.engine.options import TrainingOptions
from burnish.errors import RecipeError, ServiceError, excerpt, nearest
from burnish.lifecycle.service import Service
from burnish.model.catalogue import CATALOGUE, RANDOM_ROWS
from burnish.recipe.read import build_recipe
from burnish.registry.served import find_served
from burnish.task.build import TASKS
from burnish.task.options import PREFERENCE_LOSSES

SUPERVISED, DPO, REINFORCEMENT = "supervised", "dpo", "reinforcement"
AUTO = "auto"
MOST_EPOCHS, LARGEST_BATCH, LARGEST_BETA, LARGEST_SEED = 50, 256, 2.0, 2**31 - 1
SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
KEPT_CHECKPOINTS = 3  # newest ones, beside the best
MOST_METRICS = 500  # events of a job that tell its figures, about
# Passes over few or many rows, as the published notebook of the hosted service chooses them.
TARGET_EPOCHS, FEWEST_PASSES, MOST_PASSES, MOST_AUTO_EPOCHS = 3, 100, 25_000, 25
ROWS_PER_BATCH_ROW, LARGEST_AUTO_BATCH = 20, 32  # few rows need more steps rather than larger ones
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_PROTOCOL = ("n_epochs", "batch_size", "learning_rate_multiplier")
# Sections of a recipe that a request may fill, and what it may not say in them: whatever names a file, an address or
# another run, whatever the protocol says elsewhere, and what is the operator's to decide.
SECTIONS: Mapping[str, Sequence[str]] = {
    "data": ("train", "validation", "test", "clean.relabel", "columns", "max_row_bytes"),
    "table": (),
    "preference": (),
    "embedding": (),
    "training": ("seed", "epochs", "global_batch_size", "keep_ability.rows", "processes", "threads", "price_per_hour"),
    "augmentation": (),
    "checkpoint": (),
    "evaluation": ("canaries", "moderator", "forgetting.probes"),
    "model": ("base", "revision", "license"),
}
_BLOCK = (*SECTIONS, "task", "columns", "method", "peft", "loss", "early_stopping", "priority", "resources")
_PEFT = {"type": "name", "r": "rank", "alpha": "alpha", "lora_alpha": "alpha", "target_modules": "target_modules"}
EXTRA = tuple(
    name
    for name in TrainingOptions.model_fields
    if name not in (*SECTIONS["training"], "keep_ability", "learning_rate", "max_cost")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a client asks for; the fields of the protocol.

    Attributes:
        burnish: the extra block, for what the protocol has no words for.
        idempotency_key: the same request with the same key is the same job.
        priority: of the queue, higher ones first.
    """

    model: str
    training_file: str
    validation_file: str | None = None
    method: str = SUPERVISED
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    suffix: str | None = None
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    integrations: Sequence[Mapping[str, Any]] = ()
    burnish: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    priority: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def check_request(asked: JobRequest) -> None:
    """Refuses what no job can be made of, whatever its files hold.

    Raises:
        ServiceError: 400 naming the field.
    """
    if asked.method == REINFORCEMENT:
        raise refused("method.type", "Reinforcement fine-tuning is not offered by this server.", "unsupported_method")
    if asked.method not in (SUPERVISED, DPO):
        known = "'supervised' and 'dpo'"
        raise refused("method.type", f"'{excerpt(asked.method)}' is not a method; known are {known}.")
    if asked.suffix is not None and not SUFFIX.fullmatch(asked.suffix):
        allowed = "1 to 64 letters, digits, spaces and the signs . _ -, beginning with a letter or a digit"
        raise refused("suffix", f"'{excerpt(asked.suffix)}' is no suffix: it has {allowed}.")
    if asked.seed is not None and (isinstance(asked.seed, bool) or not 0 <= asked.seed <= LARGEST_SEED):
        raise refused("seed", f"The seed must be between 0 and {LARGEST_SEED}.")
    _check_metadata(asked.metadata)
    if asked.integrations:
        raise refused("integrations", "Integrations are not offered by this server.", "unsupported_parameter")
    _check_hyperparameters(asked)
    if asked.burnish:
        _check_block(asked.burnish)
    if not isinstance(priority_of(asked), int) or not -100 <= priority_of(asked) <= 100:
        raise refused("burnish.priority", "The priority must be a whole number from -100 to 100.")
    recipe_tree(asked, rows=None, seed=0, filename="")


def recipe_tree(
    asked: JobRequest, *, rows: int | None, seed: int, filename: str, task: str | None = None
) -> dict[str, Any]:
    """The recipe of a job without its base and its files.

    Args:
        rows: of the training file; None: not counted yet.
        task: what its rows are for, where the request does not say it.
        filename: of the training file, as its sender calls it.

    Raises:
        ServiceError: [jobs/bad-request], 400, naming the field that no recipe may have.
    """
    block = asked.burnish
    tree: dict[str, Any] = {name: _copied(block.get(name, {})) for name in SECTIONS}
    tree["task"] = "preference" if asked.method == DPO else block.get("task") or task
    tree["data"] = {"max_bad_ratio": 0.0, **tree["data"], "columns": dict(block.get("columns", {}))}
    known = FORMATS.get(PurePath(filename).suffix.lower())
    if known is not None:
        tree["data"].setdefault("format", known)
    if block.get("method") or block.get("peft"):
        tree["method"] = _method(block)
    training = {name: value for name, value in asked.hyperparameters.items() if name in EXTRA}
    tree["training"] |= training | {"seed": seed} | _numbers(asked, tree["task"], rows)
    if "patience" in block.get("early_stopping", {}):
        tree["training"]["patience"] = block["early_stopping"]["patience"]
    tree["checkpoint"].setdefault("keep", KEPT_CHECKPOINTS)
    if block.get("loss") is not None:
        tree["preference"]["loss"] = block["loss"]
    if asked.hyperparameters.get("beta", AUTO) != AUTO:
        tree["preference"]["beta"] = asked.hyperparameters["beta"]
    found = {name: value for name, value in tree.items() if value not in (None, {})}
    try:
        build_recipe({**_copied(found), "data": {**found["data"], "train": asked.training_file}}, source="request")
    except RecipeError as error:
        said = "; ".join(detail.partition(": ")[2] for detail in error.details) or error.message
        raise refused("burnish", f"The job cannot be run as asked: {said}.") from error
    return found


def recipe_with_files(tree: Mapping[str, Any], base: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The recipe of a job with its base and its files."""
    data = {**tree.get("data", {}), "train": files["training_file"]}
    if "validation_file" in files:
        data["validation"] = files["validation_file"]
    return {**tree, "model": {**tree.get("model", {}), "base": base}, "data": data}


def base_of(service: Service, project: str, name: str) -> str:
    """What the recipe calls the base that a request names: a name of the catalogue, or a folder.

    Raises:
        ServiceError: [jobs/unknown-model], 400, for a name that means no base of this service.
        DamagedStoreError: [storage/damaged] for a tuned model whose files are not what was stored.
    """
    known = known_base(service, project, name)
    if known in service.bases:
        return str(service.bases[known])
    if known in CATALOGUE or known == RANDOM_ROWS:
        return known
    version = find_served(service.registry, known, project).version
    return str(service.registry.folder(service.registry.get(version)))


def known_base(service: Service, project: str, name: str) -> str:
    """The name behind the alias that a request names, if it means a base of this service.

    Raises:
        ServiceError: [jobs/unknown-model], 400.
    """
    known = service.aliases.get(name, name)
    if is_base(service, known):
        return known
    try:
        return find_served(service.registry, known, project).name
    except ServiceError as error:
        names = [*service.bases, *service.aliases, *CATALOGUE]
        close = nearest(known, names)
        raise ServiceError(
            "jobs/unknown-model",
            f"The model '{excerpt(name, 120)}' does not exist or you do not have access to it.",
            status=400,
            param="model",
            kind="model_not_found",
            hint=f"did you mean {close}?" if close else None,
        ) from error


def is_base(service: Service, known: str) -> bool:
    """Whether a name means a base that belongs to the server, and not a tuned model."""
    return known in service.bases or known in CATALOGUE or known == RANDOM_ROWS


def auto_epochs(rows: int) -> int:
    """Passes over the rows where the request says "auto".

    >>> auto_epochs(10), auto_epochs(100), auto_epochs(20_000)
    (10, 3, 1)
    """
    if rows * TARGET_EPOCHS < FEWEST_PASSES:
        return min(MOST_AUTO_EPOCHS, FEWEST_PASSES // max(rows, 1))
    if rows * TARGET_EPOCHS > MOST_PASSES:
        return max(1, MOST_PASSES // rows)
    return TARGET_EPOCHS


def auto_batch(rows: int) -> int:
    """Rows per step where the request says "auto": one per twenty rows, 1 to 32.

    >>> auto_batch(10), auto_batch(200), auto_batch(50_000)
    (1, 10, 32)
    """
    return min(LARGEST_AUTO_BATCH, max(1, rows // ROWS_PER_BATCH_ROW))


def priority_of(asked: JobRequest) -> int:
    found = asked.burnish.get("priority", 0) if asked.priority is None else asked.priority
    return found if isinstance(found, int) and not isinstance(found, bool) else 101


def slot_of(asked: JobRequest) -> str:
    return str(asked.burnish.get("resources", {}).get("slot", "cpu"))


def refused(param: str, message: str, kind: str = "invalid_value") -> ServiceError:
    """400, naming the field of the request that is wrong."""
    return ServiceError("jobs/bad-request", message, status=400, param=param, kind=kind)


def _numbers(asked: JobRequest, task: str | None, rows: int | None) -> dict[str, Any]:
    """Epochs, batch and how often figures are told; what is left out, burnish decides by the task and its rows."""
    given = asked.hyperparameters
    said = {"epochs": given.get("n_epochs", AUTO), "global_batch_size": given.get("batch_size", AUTO)}
    numbers = {name: value for name, value in said.items() if value != AUTO}
    if rows is None:
        return numbers
    if task in ("chat", "preference"):
        numbers = {"epochs": auto_epochs(rows), "global_batch_size": auto_batch(rows)} | numbers
    steps = numbers.get("epochs", 10) * rows // numbers.get("global_batch_size", 32)
    section = asked.burnish.get("training", {})
    every = section.get("log_every_steps", given.get("log_every_steps", max(1, steps // MOST_METRICS)))
    return {**numbers, "log_every_steps": every}


def _method(block: Mapping[str, Any]) -> Any:
    """The method of a recipe: as burnish says it, or in the words of peft."""
    if block.get("method"):
        return _copied(block["method"])
    peft = block["peft"]
    known = {_PEFT.get(name, name): value for name, value in peft.items()}
    return {name: value for name, value in known.items() if value != AUTO}


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > 16:
        raise refused("metadata", f"Metadata has at most 16 pairs, not {len(metadata)}.")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str) or not 0 < len(key) <= 64 or len(value) > 512:
            shown = excerpt(str(key))
            raise refused("metadata", f"'{shown}': keys have 1 to 64 characters, values are texts of at most 512.")


def _check_hyperparameters(asked: JobRequest) -> None:
    place = f"method.{asked.method}.hyperparameters"
    known = (*_PROTOCOL, *(("beta",) if asked.method == DPO else ()), *EXTRA)
    for name, value in asked.hyperparameters.items():
        if name not in known:
            close = nearest(name, known)
            hint = f" Did you mean '{close}'?" if close else f" Known are {', '.join(known)}."
            raise refused(f"{place}.{excerpt(name)}", f"Unknown hyperparameter '{excerpt(name)}'.{hint}")
        limits = _LIMITS.get(name)
        if limits is None or value == AUTO:
            continue
        whole, low, high, says = limits
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not (low <= value <= high if whole else low < value <= high):
            raise refused(f"{place}.{name}", f"{name} must be 'auto' or {says}, not {excerpt(repr(value))}.")


_LIMITS = {  # whether it is a whole number, its bounds (the lower one itself only of whole numbers), in words
    "n_epochs": (True, 1, MOST_EPOCHS, f"a whole number from 1 to {MOST_EPOCHS}"),
    "batch_size": (True, 1, LARGEST_BATCH, f"a whole number from 1 to {LARGEST_BATCH}"),
    "learning_rate_multiplier": (False, 0.0, 1e6, "a number above 0"),
    "beta": (False, 0.0, LARGEST_BETA, f"a number above 0, at most {LARGEST_BETA:g}"),
}


def _check_block(block: Mapping[str, Any]) -> None:
    """Refuses keys of the extra block that are unknown, or not a client's to set."""
    for name, value in block.items():
        if name not in _BLOCK:
            close = nearest(name, _BLOCK)
            hint = f" Did you mean '{close}'?" if close else f" Known are {', '.join(_BLOCK)}."
            raise refused(f"burnish.{excerpt(name)}", f"Unknown key '{excerpt(name)}'.{hint}")
        sections = (*SECTIONS, "columns", "early_stopping", "resources", "peft")
        if name in sections and not isinstance(value, Mapping):
            raise refused(f"burnish.{name}", f"'{name}' must be an object.")
        for forbidden in SECTIONS.get(name, ()):
            if _has(value, forbidden):
                raise refused(f"burnish.{name}.{forbidden}", f"'{name}.{forbidden}' cannot be set in a request.")
    if block.get("task") is not None and block["task"] not in TASKS:
        close = nearest(str(block["task"]), TASKS)
        hint = f" Did you mean '{close}'?" if close else f" Known are {', '.join(sorted(TASKS))}."
        raise refused("burnish.task", f"Unknown task '{excerpt(str(block['task']))}'.{hint}")
    if block.get("loss") is not None and block["loss"] not in PREFERENCE_LOSSES:
        raise refused("burnish.loss", f"The loss is one of {', '.join(PREFERENCE_LOSSES)}.")
    slot = block.get("resources", {})
    if set(slot) - {"slot"} or slot.get("slot", "cpu") not in ("cpu", "gpu"):
        raise refused("burnish.resources", 'The resources are {"slot": "cpu"} or {"slot": "gpu"}.')


def _has(section: Mapping[str, Any], dotted: str) -> bool:
    name, _, rest = dotted.partition(".")
    inside = section.get(name)
    return name in section and (not rest or (isinstance(inside, Mapping) and _has(inside, rest)))


def _copied(value: Any) -> Any:
    """The same tree of plain values, so that filling in defaults leaves the request as it was."""
    if isinstance(value, Mapping):
        return {str(key): _copied(inside) for key, inside in value.items()}
    return [_copied(inside) for inside in value] if isinstance(value, list | tuple) else value
