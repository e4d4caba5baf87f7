"""From the name in a recipe to the task's class; `TASKS` is the registration."""

from __future__ import annotations

from burnish.task.chat import Chat
from burnish.task.preference import Preference
from burnish.task.seq2seq import Seq2Seq
from burnish.task.text_classification import TextClassification

TASKS = {"text-classification": TextClassification, "chat": Chat, "preference": Preference, "seq2seq": Seq2Seq}
WRITING = (Chat.name, Preference.name, Seq2Seq.name)  # tasks whose model writes texts
