"""`burnish compare`: two models on the same rows. Runs, checkpoints, arms of a run, or an endpoint the user names.

Two runs that were judged on the same sealed test rows are compared by the answers they wrote down, without opening a
model. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.conversations import as_lines
from burnish.data.endpoint import Endpoint
from burnish.errors import RunError, UsageError, excerpt, nearest
from burnish.evaluation.answered import Answered, Key, metrics_of, stored_answers
from burnish.evaluation.side_by_side import side_by_side
from burnish.lifecycle.answer_again import answered_by_endpoint, answered_by_run, labelled_rows
from burnish.lifecycle.endpoints import KEY, named_endpoint
from burnish.lifecycle.pairs import Pair
from burnish.lifecycle.run import Run
from burnish.lifecycle.seeds import seed_spread
from burnish.recipe.read import read_recipe
from burnish.recipe.schema import Recipe
from burnish.registry.runs import find_run
from burnish.settings import settings
from burnish.storage.fingerprint import canonical_sha256
from burnish.task.build import named_as
from burnish.types import Example, Progress, Silent

TUNED = ("final", "best")  # the weights that a run ends with are those of its best checkpoint
WRITTEN = ("chat", "seq2seq")  # tasks whose prompts an endpoint can answer, and between whose answers people choose
Timed = tuple[Answered, float | None]  # answers, and the seconds they took; None where they were there


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, as a person names it: a run with a part of it, or an endpoint.

    Attributes:
        part: "" for the tuned model, else "step-N" or the name of an arm.
    """

    name: str
    run: Run | None = None
    part: str = ""
    endpoint: Endpoint | None = None

    @property
    def step(self) -> int | None:
        number = self.part.removeprefix("step-")
        return int(number) if number != self.part and number.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models' answers to the same rows.

    Attributes:
        recipe: of the first run, as is `evaluation`: they say how the two are judged.
        split: "test", or the file the rows are from.
        keys: of the rows that both answered.
    """

    sides: tuple[Side, Side]
    recipe: Recipe
    evaluation: Mapping[str, Any]
    split: str
    a: Timed
    b: Timed
    keys: Sequence[Key]

    def found(self) -> dict[str, Any]:
        """What `burnish compare --json` prints: the numbers of `side_by_side`, and where they are from."""
        task, options = str(self.evaluation["task"]), self.recipe.evaluation
        names, labels = list(self.evaluation["models"]["tuned"]), list(self.evaluation.get("labels", ()))
        (first, first_seconds), (second, second_seconds) = self.a, self.b
        judged = side_by_side(
            metrics_of(task, names, labels, self.recipe.table.positive or ""),
            first,
            second,
            self.keys,
            names=(self.sides[0].name, self.sides[1].name),
            minimum_effect=options.minimum_effect,
            resamples=options.resamples,
            seed=self.recipe.training.seed,
        )
        return {
            "a": self.sides[0].name,
            "b": self.sides[1].name,
            "task": task,
            "split": self.split,
            "left_out": len(first.answers.keys() ^ second.answers.keys()),
            **judged,
            "seeds": {
                name: seed_spread(side.run.folder) if side.run is not None and not side.part else None
                for name, side in zip("ab", self.sides, strict=True)
            },
            "seconds": {"a": first_seconds, "b": second_seconds},
        }

    def pairs(self) -> list[Pair]:
        """The prompts with A's and B's answers, in an order that says nothing about them.

        Raises:
            UsageError: [compare/nothing-written] when the answers are no texts.
        """
        if not _writes(self.evaluation):
            raise UsageError(
                "compare/nothing-written",
                f"people choose between written answers; {self.evaluation['task']} has none here",
                where="--blind",
                hint="leave --blind out",
            )
        first, second = self.a[0], self.b[0]
        asked = {key: _as_text(first.asked[key]) for key in self.keys}
        found = (
            Pair(canonical_sha256(asked[key]), asked[key], str(first.said[key]), str(second.said[key]))
            for key in self.keys
        )
        by_prompt = {pair.prompt: pair for pair in found}  # a prompt that stands there twice is one prompt
        return [by_prompt[prompt] for prompt in sorted(by_prompt)]


def compare(
    a: str | Path,
    b: str | Path,
    *,
    data: str | Path | None = None,
    model: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Which of two models is better, and by how much.

    >>> burnish.compare("runs/first", "runs/second")["sentence"]   # doctest: +SKIP
    'runs/first is better than runs/second, by 2.1 points accuracy.'

    Args:
        a, b: a run (id, beginning of an id, folder), RUN@step-N, RUN@ARM, or the URL of an OpenAI-compatible endpoint.
        data: file of labelled rows; None: the sealed test rows that both runs were judged on.
        model: of the endpoint, as it calls it.

    Raises:
        BurnishError: as `open_comparison`.
    """
    return open_comparison(str(a), str(b), data=data, model=model, progress=progress or Silent()).found()


def open_comparison(
    a: str,
    b: str,
    *,
    data: str | Path | None,
    model: str | None,
    key_variable: str = KEY,
    progress: Progress,
) -> Comparison:
    """The answers of two models to the same rows; arguments as for `compare`.

    Raises:
        RunError: [run/not-found]; [run/not-judged]; [compare/other-task]; [compare/other-rows] when the two were judged
            on other test rows; [compare/no-answers] when answers that are needed were not written down.
        UsageError: [compare/no-run], [compare/unknown-part], [compare/no-model], [compare/stored-only].
        DataProblemError: [data/nothing-new] when no row of the file is new to both.
    """
    sides = (side_of(a, model, key_variable), side_of(b, model, key_variable))
    of_runs = [(side, side.run) for side in sides if side.run is not None]
    if not of_runs:
        raise UsageError(
            "compare/no-run", "both are endpoints", where=excerpt(a), hint="name a run, whose prompts are asked"
        )
    _require_one_task(of_runs)
    evaluation = of_runs[0][1].evaluation
    for side in sides:
        _require_part(side, evaluation, stored=data is None)
    rows = labelled_rows([run.folder for _, run in of_runs], Path(data), progress) if data is not None else None
    if rows is None:
        _require_same_rows([run for _, run in of_runs])
    timed = {side.name: _of_run(side, run, rows, progress) for side, run in of_runs}
    for side in sides:
        if side.endpoint is not None:
            timed[side.name] = _asked(side.endpoint, timed[of_runs[0][0].name][0], progress)
    first, second = (timed[side.name] for side in sides)
    keys = [key for key in first[0].answers if key in second[0].answers]
    if not keys:
        raise _other_rows([run for _, run in of_runs])
    recipe = read_recipe(of_runs[0][1].folder.recipe)
    return Comparison(sides, recipe, evaluation, "test" if data is None else str(data), first, second, keys)


def side_of(named: str, model: str | None = None, key_variable: str = KEY) -> Side:
    """What a person means by RUN, RUN@PART or a URL.

    Raises:
        RunError: [run/not-found], [run/ambiguous].
        UsageError: [compare/no-model] for a URL without the name of its model; [data/bad-endpoint].
    """
    if named.startswith(("http://", "https://")):
        if not model:
            raise UsageError(
                "compare/no-model", "which model answers there?", where=excerpt(named), hint="name it: --model NAME"
            )
        return Side(named, endpoint=named_endpoint(named, model, option="URL", key_variable=key_variable))
    name, _, part = named.rpartition("@") if "@" in named and not Path(named).is_dir() else (named, "", "")
    run = Run(find_run(name, settings().runs), settings().runs)
    return Side(named, run, "" if part in TUNED else part)


def _require_one_task(of_runs: Sequence[tuple[Side, Run]]) -> None:
    tasks = [str(run.evaluation["task"]) for _, run in of_runs]
    if len(set(tasks)) > 1:
        raise RunError(
            "compare/other-task",
            f"{of_runs[0][0].name} is for {tasks[0]}, {of_runs[1][0].name} for {tasks[1]}",
            where=of_runs[1][0].name,
            hint="compare two runs of one task",
        )


def _require_part(side: Side, evaluation: Mapping[str, Any], *, stored: bool) -> None:
    """Raises UsageError when there is no such part, or it cannot answer these rows."""
    if side.endpoint is not None and not _writes(evaluation):
        raise UsageError(
            "compare/nothing-written",
            f"an endpoint writes texts; {evaluation['task']} asks for none here",
            where=side.name,
            hint="compare two runs",
        )
    if side.run is None or not side.part or side.step is not None:
        return
    arms = sorted(side.run.evaluation["arms"])
    if side.part not in arms:
        close = nearest(side.part, arms)
        raise UsageError(
            "compare/unknown-part",
            f'"{excerpt(side.part)}" is no arm or checkpoint of this run',
            where=side.name,
            known=["best", *arms, *sorted(path.name for path in side.run.folder.checkpoints.glob("step-*"))],
            hint=f'did you mean "{close}"?' if close else None,
        )
    if not stored:
        raise UsageError(
            "compare/stored-only",
            f"the arm {side.part} answered the test rows of its run and no others",
            where=side.name,
            hint="leave --data out",
        )


def _writes(evaluation: Mapping[str, Any]) -> bool:
    """Whether the models were judged by texts that they wrote, or that a task refines one whose models are."""
    return named_as(str(evaluation["task"]), WRITTEN) is not None and evaluation["metric"] != "loss"


def _require_same_rows(runs: Sequence[Run]) -> None:
    sealed = {run.folder.manifest().get("sealed", {}).get("sha256") for run in runs}
    if len(sealed) > 1:
        raise _other_rows(runs)


def _other_rows(runs: Sequence[Run]) -> RunError:
    return RunError(
        "compare/other-rows",
        "the two were judged on other test rows, so their numbers say nothing about each other",
        where=str(runs[-1].path),
        hint="name labelled rows that neither has learned: --data FILE",
    )


def _of_run(side: Side, run: Run, rows: Sequence[Example] | None, progress: Progress) -> Timed:
    """What was written down where that is enough, else what the model answers now."""
    if rows is None and side.step is None:
        return _stored(side, run), None
    progress.stage(f"answers of {side.name}")
    return _clocked(lambda: answered_by_run(run, rows, side.step, progress))


def _asked(endpoint: Endpoint, known: Answered, progress: Progress) -> Timed:
    progress.stage(f"asking {excerpt(endpoint.model)}: {len(known.asked):,} prompts")
    return _clocked(lambda: answered_by_endpoint(endpoint, known, progress))


def _clocked(answer: Callable[[], Answered]) -> Timed:
    started = time.perf_counter()
    return answer(), round(time.perf_counter() - started, 3)


def _stored(side: Side, run: Run) -> Answered:
    evaluation = run.evaluation
    try:
        rows = run.folder.rows(run.folder.predictions)
        return stored_answers(str(evaluation["task"]), rows, list(evaluation.get("labels", ())), side.part or None)
    except (LookupError, TypeError) as error:
        raise RunError(
            "compare/no-answers",
            f"{run.folder.predictions.name} does not hold what is compared: {error}",
            where=side.name,
            hint=f"have it written again: burnish evaluate {run.path}",
        ) from error


def _as_text(asked: Any) -> str:
    return asked if isinstance(asked, str) else as_lines(asked)
