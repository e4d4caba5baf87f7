"""From the name in a recipe to the task's class; `TASKS` is the registration."""

from __future__ import annotations

from burnish.task.chat import Chat
from burnish.task.embedding import Embedding
from burnish.task.preference import Preference
from burnish.task.text_classification import TextClassification

TASKS = {"text-classification": TextClassification, "chat": Chat, "preference": Preference, "embedding": Embedding}
WRITING = (Chat.name, Preference.name)  # tasks whose model writes texts
