"""`burnish check`: what reading, cleaning and splitting finds, and what the doctor finds, with file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.data.columns import infer_columns
from burnish.data.doctor.examine import examine, left_out
from burnish.data.doctor.finding import Finding, Subject, by_importance
from burnish.data.doctor.lengths import Limit, length_histogram
from burnish.data.doctor.likeness import Embed, likeness
from burnish.data.doctor.unsafe import unsafe
from burnish.data.files import find_files
from burnish.data.options import DataOptions
from burnish.data.prepare import PreparedData, prepare
from burnish.data.row_format import RowFormat
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataProblemError, UsageError, excerpt, nearest
from burnish.lifecycle.moderate import moderator as moderator_of
from burnish.lifecycle.recipe_of import RECIPE_SUFFIXES, recipe_of
from burnish.lifecycle.rows import TRAINED, explain, other_rows
from burnish.lifecycle.train import task_class, wanted_columns
from burnish.model.find import find_base
from burnish.model.load import Base, load_tokenizer
from burnish.model.options import ModelOptions
from burnish.recipe.schema import Recipe
from burnish.settings import settings
from burnish.types import Example, Origin, Problem, Progress, Split

PLACES = 20  # of each kind of problem, in the JSON output
_TOLERANT: Mapping[str, Mapping[str, object]] = {  # error of a training -> options under which there is more to see
    "data/too-many-bad-rows": {"max_bad_ratio": 1.0},
    "data/too-few-rows": {"near_duplicates": False},
}


def check_data(
    source: str | Path,
    *,
    test: str | Path | None = None,
    task: str | None = None,
    overrides: Sequence[str] = (),
    like: str | Path | None = None,
    groups: Sequence[str] = (),
    base: str | None = None,
    deep: bool = False,
    show_mask: int = 0,
    moderator: str | None = None,
    unsafe_labels: Sequence[str] = (),
    progress: Progress,
) -> dict[str, Any]:
    """Reads, cleans and splits as a training would, examines the rows, and says what it found; writes nothing.

    Args:
        like: file of real inputs that the data is compared with.
        groups: columns whose groups are compared.
        base: base model to check lengths against and to take vectors from; implies `deep`, unless masks are asked for.
        deep: look for wrong labels, rows of the same meaning, outliers and topics in the vectors of the base.
        moderator: a run of burnish's or the address of an endpoint that says which texts are unsafe.
        unsafe_labels: labels of that run that mean unsafe.
        show_mask: conversations to show as the base will read them, with what it learns of them.

    Returns:
        {"files", "format", "task", "rows", "columns", "labels", "splits", "notes", "warnings", "lengths",
        "problems": [{"code", "count", "share", "reason", "places"}] of rows that were left out or complained of,
        "findings": [{"code", "severity", "count", "share", "what", "fix", "places", "details"}] of everything found,
        the most important first}, and with `show_mask` "masks", see `mask_view.masks`.
    """
    extra = [*overrides, *([f"task={task}"] if task else [])]
    recipe, folder = recipe_of(source, test=test, overrides=extra, seed=None)
    progress.stage(f"checking {source}" if Path(source).suffix in RECIPE_SUFFIXES else "checking the data")
    other = other_rows(recipe, folder)
    if other is not None:
        progress.note(explain(other))
    data = _prepared(recipe, folder, other)
    subject = Subject.of(_in_file_order(data))
    if subject.shows_images and (deep or base):
        raise UsageError(
            "cli/not-for-images",
            "--deep and --base look at texts; the vectors of images are not examined",
            where=str(source),
            hint="leave them out: broken, equal and nearly equal images are found without",
        )
    found_base, embed = _base(recipe, base, folder, progress) if deep or (base and not show_mask) else (None, None)
    findings = left_out(data.problems, _row_count(data))
    findings += examine(
        subject,
        groups=_groups(subject, recipe.data, groups, folder),
        limit=_limit(found_base) if found_base else None,
        base_parameters=found_base.parameters if found_base else None,
        progress=progress,
    )
    if embed:
        findings += _deep(subject, embed, progress)
    if moderator is not None:
        progress.stage(f"asking {moderator} what is unsafe")
        findings += unsafe(
            subject,
            moderator_of(moderator, unsafe_labels),
            lambda done, total: progress.advance(done, total, {}),
        )
    if like is not None:
        progress.stage(f"comparing with {like}")
        findings += likeness(subject, *_inputs_of(Path(like), recipe.data, data.columns), embed=embed)
    masks = {}
    if show_mask:
        from burnish.lifecycle.mask_view import masks as masks_of

        masks = {"masks": masks_of(data, recipe, folder, base=base, count=show_mask)}
    return (
        _described(data)
        | masks
        | {
            "format": other.name if other else "text-label",
            "task": other.task if other else recipe.task or TRAINED,
            "lengths": length_histogram(subject),
            "findings": [finding.as_dict() for finding in by_importance(findings)],
        }
    )


def _prepared(recipe: Recipe, folder: Path, other: RowFormat | None) -> PreparedData:
    """The data as a training would prepare it; where that would stop, with the rows it would stop at."""
    options, stops = recipe.data, list[str]()
    wanted = wanted_columns(task_class(recipe) if other is None else None, other)
    first: DataProblemError | None = None
    while True:
        try:
            data = prepare(options, wanted, base_folder=folder, seed=recipe.training.seed, row_format=other)
        except DataProblemError as error:
            first = first or error
            tolerant = options.model_copy(update=_TOLERANT.get(error.code, {}))
            if tolerant == options:  # nothing is left to look at
                raise first from None
            options = tolerant
            stops.append(f"a training would stop here: {error.message}; {error.hint}")
        else:
            return replace(data, warnings=[*data.warnings, *stops])


def _in_file_order(data: PreparedData) -> list[Example]:
    """The rows of all parts as they stand in the files."""
    number = {name: index for index, name in enumerate(data.files)}
    rows = [example for split in Split for example in data.found[split]]
    return sorted(rows, key=lambda example: (number.get(example.origin.file, 0), example.origin.line))


def _row_count(data: PreparedData) -> int:
    return sum(int(facts["rows"]) for facts in data.files.values())


def _described(data: PreparedData) -> dict[str, Any]:
    """What was read, and the rows that were left out, by kind."""
    rows = _row_count(data)
    kinds: dict[str, list[Problem]] = {}
    for problem in data.problems:
        kinds.setdefault(problem.code, []).append(problem)
    return {
        "files": list(data.files),
        "rows": rows,
        "columns": dict(data.columns),
        "labels": {label: sum(counts.get(label, 0) for counts in data.label_counts.values()) for label in data.labels},
        "splits": {split.value: len(data.found[split]) for split in Split},
        "notes": list(data.notes),
        "warnings": list(data.warnings),
        "problems": [
            {
                "code": code,
                "count": len(found),
                "share": len(found) / max(1, rows),
                "reason": found[0].reason,
                "places": [str(problem.origin) for problem in found[:PLACES]],
            }
            for code, found in sorted(kinds.items(), key=lambda item: -len(item[1]))
        ],
    }


def _base(recipe: Recipe, name: str | None, folder: Path, progress: Progress) -> tuple[Base, Embed]:
    """The base that was asked for, else the recipe's, and its vectors."""
    from burnish.lifecycle.embed import embedder

    options = ModelOptions(base=name) if name else recipe.model
    found = find_base(options, recipe_folder=Path() if name else folder, runs=settings().runs)
    return found, embedder(found, progress=progress)


def _limit(base: Base) -> Limit:
    """The tokens a base reads, counted by its own tokenizer."""
    import numpy as np

    tokenizer = load_tokenizer(base.folder)

    def count_tokens(texts: Sequence[str]) -> Any:
        return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))], np.int64)

    return Limit(base.name, base.max_length, count_tokens)


def _deep(subject: Subject, embed: Embed, progress: Progress) -> list[Finding]:
    """What the vectors of the base show."""
    from burnish.data.doctor.meaning import meaning
    from burnish.data.doctor.wrong_labels import wrong_labels

    vectors = embed(subject.inputs)
    found: list[Finding] = []
    progress.stage("looking for wrong labels")
    found += wrong_labels(subject, vectors)
    progress.stage("looking at meanings and topics")
    found += meaning(subject, vectors)
    return found


def _groups(
    subject: Subject, options: DataOptions, columns: Sequence[str], folder: Path
) -> Mapping[str, Sequence[str]]:
    """The value of each row in the columns of the files that were asked for.

    Raises:
        UsageError: [cli/unknown-column] when a file has no such column.
    """
    if not columns:
        return {}
    values: dict[str, dict[Origin, str]] = {column: {} for column in columns}
    for file in find_files([*options.train_files, *options.validation_files, *options.test_files], folder):
        shape = inspect_source(file.path, options, name=file.name)
        for record in read_source(file.path, shape, options):
            if isinstance(record, Problem):
                continue
            for column, of_column in values.items():
                if column not in record.values:
                    raise _unknown_column(column, str(record.origin), list(record.values))
                of_column[record.origin] = excerpt(str(record.values[column]))
    return {
        column: [of_column.get(example.origin) or "(none)" for example in subject.examples]
        for column, of_column in values.items()
    }


def _unknown_column(column: str, where: str, known: Sequence[str]) -> UsageError:
    close = nearest(column, known)
    return UsageError(
        "cli/unknown-column",
        f'--group "{excerpt(column)}": there is no such column',
        where=where,
        known=[excerpt(name) for name in known],
        hint=f'did you mean "{excerpt(close)}"?' if close else "name a column of the file",
    )


def _inputs_of(path: Path, options: DataOptions, columns: Mapping[str, str]) -> tuple[list[str], list[Origin]]:
    """The texts of a file of real inputs, which needs no labels, and where they stand."""
    options = options.model_copy(update={"columns": {}, "format": None, "header": None})
    shape = inspect_source(path, options, name=str(path))
    column = columns.get("text")
    if column not in shape.columns:
        column = infer_columns(shape, options, {"text": str})["text"]
    texts, places = [], []
    for record in read_source(path, shape, options):
        value = None if isinstance(record, Problem) else record.values.get(column)
        if isinstance(value, str) and value.strip():
            texts.append(value)
            places.append(record.origin)
    return texts, places
