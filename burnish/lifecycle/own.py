"""Parts a caller brings along instead of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from burnish.types import Metric

if TYPE_CHECKING:
    from burnish.serving.package import HeadBuilder
    from burnish.task.text_classification import Loss, TextClassification


@dataclass(frozen=True, slots=True)
class Own:
    """What a caller brings along instead of ours; never named by a path in a recipe."""

    task: type[TextClassification] | None = None
    metric: type[Metric] | None = None
    loss: Loss | None = None
    head: HeadBuilder | None = None

    def names(self) -> dict[str, str]:
        """For the manifest: which parts were the caller's own."""
        parts = {"task": self.task, "metric": self.metric, "loss": self.loss, "head": self.head}
        return {k: f"{v.__module__}:{getattr(v, '__qualname__', type(v).__qualname__)}" for k, v in parts.items() if v}

    def missing(self, manifest: Mapping[str, Any]) -> list[str]:
        """Names of the parts that a run was made with and that are not here."""
        return sorted(set(manifest.get("parts_of_the_caller", {})) - set(self.names()))
