"""Where each default of a recipe comes from: the reason it was given here, and the paper or measurement behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from burnish.recipe.schema import Recipe
from burnish.settings import Options

YOURS = "your recipe"
OURS = "measured on validation rows of several sets, docs/benchmarks.md"
METHODS = {
    "head": "Kumar et al. 2022, arXiv:2202.10054",
    "prompt-tuning": "Lester et al. 2021, arXiv:2104.08691",
    "ia3": "Liu et al. 2022, arXiv:2205.05638",
    "adapter": "Houlsby et al. 2019, arXiv:1902.00751",
    "lora": "Hu et al. 2021, arXiv:2106.09685",
    "qlora": "Dettmers et al. 2023, arXiv:2305.14314",
    "full": "Devlin et al. 2019, arXiv:1810.04805",
    "freeze": "Lee et al. 2019, arXiv:1911.03090",
}
TRAINING = {
    "epochs": OURS,
    "learning_rate": OURS,
    "global_batch_size": OURS,
    "schedule": "Loshchilov and Hutter 2016, arXiv:1608.03983",
    "warmup_ratio": "Goyal et al. 2017, arXiv:1706.02677",
    "weight_decay": "Loshchilov and Hutter 2017, arXiv:1711.05101",
    "layer_decay": "Howard and Ruder 2018, arXiv:1801.06146",
    "max_grad_norm": "Pascanu et al. 2012, arXiv:1211.5063",
    "average_decay": "Izmailov et al. 2018, arXiv:1803.05407",
    "label_smoothing": "Szegedy et al. 2015, arXiv:1512.00567",
    "patience": "Prechelt 1998, Early Stopping - But When?, doi:10.1007/3-540-49430-8_3",
}


def choices(recipe: Recipe, said: Recipe, notes: Sequence[str]) -> list[dict[str, Any]]:
    """Base, method and hyperparameters of a decided recipe: each with its value, why here, and its source.

    Args:
        said: the recipe before what it left open was filled in; what it changes is its own source.
        notes: "field: value, why", as `decided` notes them; a field without a note is a default for all data.
    """
    why = {note.partition(":")[0]: note.partition(", ")[2] for note in notes}
    method = recipe.method.name if recipe.method else None
    found: list[tuple[str, Any, str]] = [("model.base", recipe.model.base, _unless_said(said.model, "base", ""))]
    if method is not None:
        found.append(("method", method, YOURS if said.method else METHODS.get(method, "")))
    if method != "head":
        found += [
            (f"training.{name}", getattr(recipe.training, name), _unless_said(said.training, name, source))
            for name, source in TRAINING.items()
        ]
    found.append(("evaluation.metric", recipe.evaluation.metric, _unless_said(said.evaluation, "metric", "")))
    return [
        {"field": field, "value": value, "why": why.get(field, ""), "source": source} for field, value, source in found
    ]


def _unless_said(section: Options, name: str, source: str) -> str:
    default = type(section).model_fields[name].get_default(call_default_factory=True)
    return source if getattr(section, name) == default else YOURS
