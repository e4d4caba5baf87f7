"""`burnish chat`: talk to a tuned language model, beside its base if asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.errors import RunError
from burnish.model.find import find_base
from burnish.model.generate import Sampling
from burnish.recipe.read import read_recipe
from burnish.registry.runs import find_run
from burnish.serving.answer import Answerer, Prompt
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder
from burnish.task.build import WRITING
from burnish.task.seq2seq import Seq2Seq

TUNED, BASE = "tuned", "base"


@dataclass(slots=True)
class Talk:
    """A conversation with one model or two; each remembers what itself has said.

    Attributes:
        answerers: name -> who answers.
    """

    answerers: Mapping[str, Answerer]
    sampling: Sampling
    system: str | None = None
    messages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def say(self, text: str) -> dict[str, str]:
        """Everybody's answer to what the user says now.

        Raises:
            DataProblemError: [predict/bad-prompt] when the conversation has outgrown what the model reads.
        """
        answers = {}
        for name, answerer in self.answerers.items():
            said = self.messages.setdefault(name, [{"role": "system", "content": self.system}] if self.system else [])
            said.append({"role": "user", "content": text})
            try:
                (answer,) = answerer.answer([Prompt(said)], self.sampling)
            except BaseException:
                said.pop()
                raise
            said.append({"role": "assistant", "content": answer.text})
            answers[name] = answer.text
        return answers

    def forget(self) -> None:
        """Begins anew."""
        self.messages.clear()


def open_talk(run: str, *, base: bool, system: str | None, sampling: Sampling) -> Talk:
    """A conversation with the model of a run, and with its base beside it.

    Raises:
        RunError: [run/not-finished]; [run/not-chat] for a run of another task.
    """
    folder = find_run(run, settings().runs)
    tuned = answerer_of(folder)
    answerers = {TUNED: tuned}
    if base:
        recipe = read_recipe(folder.recipe)
        found = find_base(recipe.model, recipe_folder=Path(), runs=settings().runs)
        answerers[BASE] = Answerer.of_base(found, tuned.masker.template, tuned.ends)
    return Talk(answerers, sampling, system)


def answerer_of(folder: RunFolder) -> Answerer:
    """The tuned language model of a run."""
    if not folder.final.is_dir():
        raise RunError(
            "run/not-finished",
            "this run has no model yet",
            where=str(folder.path),
            hint=f"go on with: burnish resume {folder.path}",
        )
    task = folder.manifest().get("task")
    if task not in WRITING or task == Seq2Seq.name:
        raise RunError(
            "run/not-chat",
            f"this run is of the task {task}: it does not talk",
            where=str(folder.path),
            hint="use it with: burnish predict RUN",
        )
    return Answerer.of_run(folder.final, runs=settings().runs)
