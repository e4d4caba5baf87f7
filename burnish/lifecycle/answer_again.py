"""Answers to labelled rows as a comparison needs them: by the model of a run, by its checkpoint, by an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from burnish.data.deduplicate import leakage
from burnish.data.endpoint import Endpoint
from burnish.errors import DataProblemError, DataReadError, UsageError, excerpt
from burnish.evaluation.answered import SEPARATOR, Answered, keys_of
from burnish.lifecycle.at_step import at_step
from burnish.lifecycle.chat_bench import last_words, prompt_of
from burnish.lifecycle.judge import with_other_rows
from burnish.lifecycle.judge_seq2seq import questions
from burnish.lifecycle.own import Own
from burnish.lifecycle.resolve import answer_text
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import read_rows, refuse_changed_data, task_class
from burnish.model.generate import Sampling
from burnish.recipe.read import read_recipe
from burnish.serving.answer import Answerer
from burnish.serving.predict import Predictor
from burnish.serving.table_predict import TablePredictor
from burnish.serving.writer import Writer
from burnish.storage.run_folder import RunFolder
from burnish.task.build import named_as
from burnish.types import Example, Progress, Split

WORKERS = 4  # requests at once
SEARCHES = ("embedding", "preference")  # their answers depend on all rows together


def labelled_rows(runs: Sequence[RunFolder], path: Path, progress: Progress) -> list[Example]:
    """The rows of a file that none of the runs learned or chose from, read as the first one reads its own.

    Raises:
        DataReadError, DataProblemError: as `burnish evaluate --data`; [data/nothing-new] when no row is left.
    """
    recipe, _, prepared = read_rows(read_recipe(runs[0].recipe), Own())
    rows = list(with_other_rows(recipe, prepared, path, progress).splits[Split.TEST])
    for other in runs[1:]:
        _, _, prepared = read_rows(read_recipe(other.recipe), Own())
        known = [e for split in (Split.TRAIN, Split.VALIDATION) for e in prepared.splits[split]]
        rows, seen = leakage(rows, known)
        if seen:
            progress.warn(f"{len(seen)} rows of {path} were learned or chosen from in {other.id} and are left out")
    if not rows:
        raise DataProblemError(
            "data/nothing-new", "no row of this file is new to both runs", where=str(path), hint="use rows neither saw"
        )
    return rows


def answered_by_run(run: Run, rows: Sequence[Example] | None, step: int | None, progress: Progress) -> Answered:
    """What the model of a run answers now.

    Args:
        rows: None: the test rows of the run.
        step: of a checkpoint; None: the model the run ended with.

    Raises:
        RunError: [run/not-finished], [run/data-changed]; as `at_step`.
        UsageError: [compare/stored-only] for a task whose answers depend on all rows together.
    """
    task = str(run.evaluation["task"])
    if named_as(task, SEARCHES) is not None or run.evaluation["metric"] == "loss":
        raise UsageError(
            "compare/stored-only",
            f"what a model of the task {task} says of its own test rows can be compared, and no more yet",
            where=str(run.path),
            hint="leave --data and @step-N out",
        )
    if rows is None:
        _, _, prepared = read_rows(read_recipe(run.folder.recipe), Own())
        refuse_changed_data(run.folder, prepared)
        rows = _judged(run, prepared.splits[Split.TEST]) if task == "chat" else prepared.splits[Split.TEST]
    answer = ANSWERS.get(named_as(task, ANSWERS) or "", _of_rows)
    if step is None:
        run.require_model()
        return answer(run, rows, progress)
    with at_step(run, step, progress) as stopped:
        return answer(stopped, rows, progress)


def _judged(run: Run, rows: Sequence[Example]) -> list[Example]:
    """The test rows whose prompts the run was judged on, at most evaluation.max_prompts."""
    asked = {(row["file"], row["line"]) for row in run.folder.rows(run.folder.predictions)}
    return [example for example in rows if (example.origin.file, example.origin.line) in asked]


def _of_rows(run: Run, rows: Sequence[Example], progress: Progress) -> Answered:
    recipe = read_recipe(run.folder.recipe)
    options: dict[str, Any] = {"task": task_class(recipe), "precision": recipe.training.precision}
    predictor = Predictor(run.folder.final, runs=run.runs, **options)
    task = predictor.task
    found = predictor.predict_rows([example.row for example in rows], progress=progress)
    shown = [task.shown(example.row, one) for example, one in zip(rows, found, strict=True)]
    references = [task.reference(example.row) for example in rows]
    return _answered(rows, references, [task.answer(one) for one in shown], [_text(e) for e in rows])


def _of_tables(run: Run, rows: Sequence[Example], progress: Progress) -> Answered:
    predictor = TablePredictor(run.folder.final)
    answers = predictor.answers([example.row for example in rows], "transformer", progress=progress)
    labels = predictor.task.labels
    said = [predictor.task.chosen(answer)["label"] for answer in answers] if labels else answers
    texts = ["; ".join(f"{name}: {value}" for name, value in e.row["features"].items()) for e in rows]
    return _answered(rows, [e.row["target"] for e in rows], answers, texts, said=said)


def _of_chat(run: Run, rows: Sequence[Example], progress: Progress) -> Answered:
    rows = [example for example in rows if "messages" in example.row]
    prompts = [prompt_of(example.row) for example in rows]
    most = int(run.evaluation["diagnostics"]["max_new_tokens"])
    answerer = Answerer.of_run(run.folder.final, runs=run.runs)
    said = answerer.answer(prompts, Sampling(max_new_tokens=most), _advance(progress))
    return _answered(
        rows,
        [answer_text(example.row) for example in rows],
        [answer.text for answer in said],
        [last_words(prompt) for prompt in prompts],
        asked=[list(prompt.messages) for prompt in prompts],
    )


def _of_sources(run: Run, rows: Sequence[Example], progress: Progress) -> Answered:
    asked = questions(rows)
    sources = [question.source for question in asked]
    most = int(run.evaluation["diagnostics"]["max_new_tokens"])
    said = Writer.of_run(run.folder.final, runs=run.runs).write(
        sources, max_new_tokens=most, advance=_advance(progress)
    )
    references = [question.targets for question in asked]
    return _answered([q.example for q in asked], references, [one.text for one in said], sources, asked=sources)


ANSWERS: Mapping[str, Callable[[Run, Sequence[Example], Progress], Answered]] = {
    "chat": _of_chat,
    "seq2seq": _of_sources,
    "tabular": _of_tables,
}


def answered_by_endpoint(endpoint: Endpoint, known: Answered, progress: Progress) -> Answered:
    """What a model behind a URL answers to the prompts that somebody else has answered.

    Raises:
        DataReadError: [data/endpoint-failed] when a prompt stays without an answer: the others would not be the same
            rows any more.
    """

    def answer(asked: Any) -> str:
        messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        return endpoint.answer(messages, temperature=0.0).strip()

    said: list[str] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(answer, asked) for asked in known.asked.values()]
        try:
            for future in futures:
                said.append(future.result())
                progress.advance(len(said), len(futures), {})
        except (OSError, ValueError) as error:
            pool.shutdown(cancel_futures=True)
            raise DataReadError(
                "data/endpoint-failed",
                f"the endpoint does not answer: {excerpt(str(error), 200)}",
                where=endpoint.url,
                hint="check address, model and key",
            ) from error
    answers = dict(zip(known.asked, said, strict=True))
    return Answered(known.shown, known.references, answers, answers, known.asked)


def _answered(
    rows: Sequence[Example],
    references: Sequence[Any],
    answers: Sequence[Any],
    texts: Sequence[str],
    *,
    said: Sequence[Any] | None = None,
    asked: Sequence[Any] = (),
) -> Answered:
    """Each answer under the key of its row.

    Args:
        texts: what each row asks, as people read it.
        said: the answers as people read them; None: by what they are.
        asked: the conversations; none: the texts.
    """
    keys = keys_of([(example.origin.file, example.origin.line) for example in rows])
    shown = [
        {"file": example.origin.file, "line": example.origin.line, "label": _in_words(reference), "text": text}
        for example, reference, text in zip(rows, references, texts, strict=True)
    ]
    words = said if said is not None else [_in_words(answer) for answer in answers]
    columns = (shown, references, answers, words, asked or texts)
    return Answered(*(dict(zip(keys, column, strict=True)) for column in columns))


def _advance(progress: Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress.advance(done, total, {})


def _in_words(answer: Any) -> Any:
    """An answer as people read it: several labels or texts one after the other."""
    return SEPARATOR.join(map(str, answer)) if isinstance(answer, tuple) else answer


def _text(example: Example) -> str:
    """What a row asks, as people read it."""
    names = ("text", "first", "second", "question", "context", "image")
    tokens = " ".join(example.row.get("tokens", ()))
    return tokens or "\n".join(str(example.row[name]) for name in names if name in example.row)
