"""What is learned from which columns. One file per task; `TASKS` is the registration."""

from __future__ import annotations

from burnish.task.text_classification import TextClassification

TASKS = {"text-classification": TextClassification}

__all__ = ["TASKS", "TextClassification"]
