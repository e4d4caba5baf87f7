"""What is learned from which columns. One file per task; `TASKS` is the registration."""

from __future__ import annotations

from burnish.task.chat import Chat
from burnish.task.text_classification import TextClassification

TASKS = {"text-classification": TextClassification, "chat": Chat}

__all__ = ["TASKS", "Chat", "TextClassification"]
