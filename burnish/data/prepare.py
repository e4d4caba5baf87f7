"""The whole way of the data: files in, three clean parts out, with everything that was decided and dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict

from burnish.data.augment import noisy_copies
from burnish.data.balance import class_weights, is_imbalanced, oversample, undersample
from burnish.data.clean import LABEL, check_bad_rows, check_label_sets, check_labels, settle_label_variants, to_examples
from burnish.data.columns import check_canonical, check_columns, check_kept_columns, infer_columns
from burnish.data.deduplicate import deduplicate
from burnish.data.files import DataFile, find_files
from burnish.data.formats import detect_format
from burnish.data.image_folder import folder_parts, folder_sha256
from burnish.data.images import examples_of
from burnish.data.interactions import leave_last_out
from burnish.data.options import DataOptions
from burnish.data.parts import make_parts
from burnish.data.records import Record, SourceShape
from burnish.data.repair import drop_near_duplicates, read_corrections, redact_rows, relabel, repair_training_rows
from burnish.data.row_format import INTERACTIONS, RowFormat
from burnish.data.source import inspect_source, read_source
from burnish.data.split import LABELS, TAGS, TARGET, labels_in
from burnish.errors import DataProblemError, DataReadError, excerpt, nearest
from burnish.storage.fingerprint import canonical_json, canonical_sha256, file_sha256
from burnish.types import Example, Problem, Provenance, Row, Split

_SHOWN = 10  # places listed in an error
_NO_TEXTS = ("tabular", "recommendation")  # rows of numbers and categories are alike without saying the same
_FOUND = {
    "data/duplicate": "repeated rows",
    "data/conflicting-label": "rows whose text has contradicting labels",
    "data/leakage": "rows with a text the model is judged on",
    "data/near-duplicate": "rows that say almost the same as another",
    "data/relabelled": "labels as the audit says",
    "data/unfit": "rows that fit no label, as the audit says,",
    "data/redacted": "rows with personal data",
    "data/long-row": "rows with a long text",
    "data/length-outlier": "rows of unusual length",
    "data/synthetic": "synthetic rows",
    "data/bad-time": "rows without a readable time",
    "data/repeated-choice": "choices of what the user knows already",
    "data/unknown-item": "choices of what no training row holds",
}


class FileFacts(TypedDict):
    """What a run records about a data file it read."""

    sha256: str
    bytes: int
    rows: int  # refused ones included


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedData:
    """Data ready to train on, and how it came to be.

    Attributes:
        splits: the rows of each part, in file order; noisy copies and repeated rows come last in train.
        found: the same without what was made for training: no noisy copies, no class evened out.
        problems: rows that were refused or dropped, or kept although suspicious (`action`).
        columns: canonical column -> column of the files.
        labels: all labels, or tags of tokens, sorted; empty for a task without labels.
        label_counts: rows per label, or tokens per tag, in each part of `found`.
        class_weights: how much a row of each label counts in the loss; empty when all count the same.
        notes: what was recognised and decided, one sentence each.
        warnings: what somebody should look at, one sentence each.
        files: file as the recipe names it -> sha256, size in bytes, rows.
        split_fingerprint: sha256 over the sorted canonical rows of each part.
    """

    splits: Mapping[Split, Sequence[Example]]
    found: Mapping[Split, Sequence[Example]]
    problems: list[Problem]
    columns: Mapping[str, str]
    labels: tuple[str, ...]
    label_counts: Mapping[Split, Mapping[str, int]]
    class_weights: Mapping[str, float]
    notes: list[str]
    warnings: list[str]
    files: Mapping[str, FileFacts]
    split_fingerprint: str

    @property
    def sizes(self) -> dict[Split, int]:
        return {part: len(examples) for part, examples in self.splits.items()}


def prepare(
    options: DataOptions,
    wanted: Mapping[str, type],
    *,
    base_folder: Path,
    seed: int,
    row_format: RowFormat | None = None,
) -> PreparedData:
    """Reads, maps, cleans, deduplicates and splits the data of a recipe.

    Args:
        options: the recipe's `data` section.
        wanted: canonical columns of the task and their types, e.g. {"text": str, "label": str}.
        base_folder: the folder relative paths start at: the recipe's.
        seed: of the split.
        row_format: what the rows are, when it is not the task's columns that are read.

    Raises:
        DataReadError: a file is missing or cannot be read, columns are unknown or unclear; [data/other-format] for a
            file whose rows are of another format than those before it.
        DataProblemError: [data/too-many-bad-rows], [data/label-variants], [data/one-class], [data/unknown-label],
            [data/too-few-rows], [data/same-file], [data/nothing-to-map], [data/nothing-to-balance].
    """
    if row_format is not None and row_format.task in _NO_TEXTS:
        options = options.model_copy(update={"near_duplicates": False})
    intake = _Intake(options, wanted, base_folder, row_format)
    for part, files in _files(options, base_folder).items():
        for file in files:
            intake.read(part, file)
    check_bad_rows(intake.problems, sum(facts["rows"] for facts in intake.files.values()), options.max_bad_ratio)
    intake.require_labels_to_map()
    intake.correct()
    if LABEL in wanted:
        intake.settle_labels()
    intake.drop_repeated_rows()
    if LABEL in wanted:
        intake.warnings += check_labels(intake.examples[Split.TRAIN])
    for column in {LABELS, TAGS} & set(intake.columns):
        check_label_sets(intake.examples[Split.TRAIN], column)
    splits = intake.make_parts(seed)
    _check_sizes(splits, options)
    if LABEL in wanted or (row_format is not None and TARGET in row_format.columns):
        _check_known_labels(splits)
    counts = {part: Counter(label for e in rows for label in labels_in(e.row)) for part, rows in splits.items()}
    sizes = ", ".join(f"{len(rows):,} {part}" for part, rows in splits.items())
    intake.notes.append(f"parts (seed {seed}): {sizes}")
    learned, weights = intake.learned_from(splits[Split.TRAIN], counts[Split.TRAIN], seed)
    return PreparedData(
        splits={**splits, Split.TRAIN: learned},
        found=splits,
        problems=intake.problems,
        columns=intake.columns,
        labels=tuple(sorted(set().union(*counts.values()))),
        label_counts={part: dict(sorted(count.items())) for part, count in counts.items()},
        class_weights=weights,
        notes=intake.notes,
        warnings=intake.warnings,
        files=intake.files,
        split_fingerprint=_split_fingerprint(splits),
    )


def _files(options: DataOptions, base_folder: Path) -> dict[Split, list[DataFile]]:
    """The files of each part that has its own, training files first.

    A folder of images that holds folders of the parts gives those that the recipe does not name.
    """
    named = {Split.TRAIN: options.train_files, Split.VALIDATION: options.validation_files}
    named[Split.TEST] = options.test_files
    if len(options.train_files) == 1 and (parts := folder_parts(base_folder / options.train_files[0])):
        found = {part: (str(Path(options.train_files[0]) / folder.name),) for part, folder in parts.items()}
        named = {part: found.get(part, ()) if part is Split.TRAIN else names for part, names in named.items()}
        named |= {part: names for part, names in found.items() if not named[part]}
    return {part: find_files(names, base_folder) for part, names in named.items() if names}


@dataclass(slots=True)
class _Intake:
    """What has been read so far."""

    options: DataOptions
    wanted: Mapping[str, type]
    base_folder: Path
    row_format: RowFormat | None
    examples: dict[Split, list[Example]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, FileFacts] = field(default_factory=dict)

    def read(self, part: Split, file: DataFile) -> None:
        """Takes in one file. The first file settles the columns, the others must have them."""
        path, name = file.path, file.name
        shape = inspect_source(path, self.options, name=name)
        self.notes.append(shape.describe())
        if self.columns:
            check_columns(shape, self.columns)
            self._check_format(shape)
        else:
            self.columns = self._columns_of(shape)
            self.notes.append(
                "columns: " + ", ".join(f'{key} is "{excerpt(name)}"' for key, name in self.columns.items())
            )
        check_kept_columns(shape, self.options)
        facts = self._facts(path, name)
        examples = self.examples.setdefault(part, [])
        before, refused = len(examples), len(self.problems)
        changes = Counter[str]()  # of images, by kind
        for item in self._examples(read_source(path, shape, self.options), path, changes):
            facts["rows"] += 1
            if isinstance(item, Problem):
                self.problems.append(item)
            else:
                examples.append(item)
        self.files[name] = facts
        self._note_refused(name, self.problems[refused:])
        self.notes += [f"{name}: {count:,} images with {change}" for change, count in sorted(changes.items())]
        if LABEL in self.wanted:
            self._compare_labels(name, {str(example.row[LABEL]) for example in examples[before:]})

    def _columns_of(self, shape: SourceShape) -> dict[str, str]:
        """Canonical column -> column of the file, as the recipe says or as they look."""
        if self.row_format is None:
            return infer_columns(shape, self.options, self.wanted)
        check_canonical(self.options, self.row_format.columns)
        check_columns(shape, self.options.columns)
        return dict(self.row_format.columns)

    def _note_refused(self, name: str, problems: Sequence[Problem]) -> None:
        if problems:
            rows = "1 row" if len(problems) == 1 else f"{len(problems):,} rows"
            first = f"line {problems[0].origin.line}: {problems[0].reason}"
            self.notes.append(f"{name}: {rows} left out that cannot be used; {first}")

    def _examples(
        self, records: Iterator[Record | Problem], path: Path, changes: Counter[str]
    ) -> Iterator[Example | Problem]:
        if self.row_format is None:
            return to_examples(records, self.columns, self.wanted, self.options)
        found = examples_of(self.row_format, records, path, kept=self.options.kept_columns, changes=changes)
        return map(self._relabelled, found) if self.options.label_map else found

    def _relabelled(self, item: Example | Problem) -> Example | Problem:
        """The row with `data.label_map` applied to its label, labels or tags."""
        if isinstance(item, Problem):
            return item
        to = self.options.label_map
        row = dict(item.row)
        if isinstance(row.get(LABEL), str):
            row[LABEL] = to.get(row[LABEL], row[LABEL])
        for column in (LABELS, TAGS):
            if column in row:
                row[column] = [to.get(label, label) for label in row[column]]
        return replace(item, row=row)

    def _check_format(self, shape: SourceShape) -> None:
        if self.row_format is None:
            return
        wanted = (self.row_format.task,)
        found = detect_format(shape.columns, shape.sample, tasks=wanted, called=self.options.columns)
        if found is None or found.name != self.row_format.name:
            what = f'rows of the format "{found.name}"' if found else "rows of no known format"
            raise DataReadError(
                "data/other-format",
                f'holds {what}; the files before it hold "{self.row_format.name}"',
                where=shape.name,
                hint="check files of different formats one by one",
            )

    def _compare_labels(self, name: str, labels: set[str]) -> None:
        """Warns of a file whose labels are all unknown to the files before it: it may mean other things by them."""
        strange = labels and self.labels and labels.isdisjoint(self.labels)
        if strange and len(labels) > 1 and len(self.labels) > 1:  # files of one label each are a way to keep rows
            self.warnings.append(
                f"{name} shares no label with the files before it: "
                f"{_few(labels)} there, {_few(self.labels)} in them; `data.label_map` makes them one"
            )
        self.labels |= labels

    def correct(self) -> None:
        """The repairs that touch every part; says how many rows people did not write."""
        if self.options.clean.relabel is not None:
            name = self.options.clean.relabel
            corrections = read_corrections(self.base_folder / name, name)
            for part, examples in self.examples.items():
                self.examples[part], problems = relabel(examples, corrections)
                self.report(problems, part)
        if self.options.clean.redact:
            for part, examples in self.examples.items():
                self.examples[part], problems = redact_rows(examples)
                self.report(problems, part)
        for part, examples in self.examples.items():
            for provenance, count in Counter(example.provenance for example in examples).items():
                if provenance is not Provenance.HUMAN:
                    self.notes.append(f"{part}: {count:,} {provenance} rows")

    def settle_labels(self) -> None:
        """Gives each family of label spellings one spelling, in all parts alike."""
        everything = [example for examples in self.examples.values() for example in examples]
        mapping, notes = settle_label_variants(everything, merge=self.options.merge_label_variants)
        self.notes += notes
        if mapping:
            for part, examples in self.examples.items():
                self.examples[part] = [
                    replace(e, row={**e.row, LABEL: mapping.get(e.row[LABEL], e.row[LABEL])}) for e in examples
                ]

    def drop_repeated_rows(self) -> None:
        """Rows said twice in train.

        Rows of validation and test files that are said twice are listed and kept: the numbers stay comparable with
        those others measured on the same files.
        """
        if self.options.deduplicate:
            for part, examples in self.examples.items():
                kept, problems = deduplicate(examples)
                if part == Split.TRAIN:
                    self.examples[part] = kept
                else:
                    problems = [replace(problem, action="kept") for problem in problems]
                self.report(problems, part)
        if self.options.clean.near_duplicates:
            self.examples[Split.TRAIN], problems = drop_near_duplicates(self.examples[Split.TRAIN])
            self.report(problems, Split.TRAIN)

    def make_parts(self, seed: int) -> dict[Split, list[Example]]:
        """The three parts, and the repairs that touch training rows only."""
        if self.row_format is not None and self.row_format.name == INTERACTIONS:
            choices = self.examples[Split.TRAIN]
            splits, left_out = leave_last_out(choices, max_bad_ratio=self.options.max_bad_ratio)
        else:
            splits, left_out = make_parts(self.examples, self.options, seed)
        for part, problems in left_out.items():
            self.report(problems, part)
        splits[Split.TRAIN], problems = repair_training_rows(splits[Split.TRAIN], self.options.clean)
        self.report(problems, Split.TRAIN)
        return splits

    def learned_from(
        self, train: list[Example], counts: Mapping[str, int], seed: int
    ) -> tuple[list[Example], dict[str, float]]:
        """The training rows with noisy copies and evened out classes, and the weights of the classes."""
        learned = [*train, *noisy_copies(train, self.options.noisy_copies, seed)]
        if len(learned) > len(train):
            self.notes.append(f"train: {len(learned) - len(train):,} noisy copies added")
        balance = self.options.balance
        classes_of_a_table = balance == "weights" and TARGET in self.columns and bool(counts)
        if LABEL not in self.wanted and not classes_of_a_table:
            self._require_no_balance()
            return learned, {}
        if balance == "none" and is_imbalanced(counts):
            least, most = min(counts.values()), max(counts.values())
            self.notes.append(
                f"classes have {least:,} to {most:,} training rows; `data: {{balance: weights}}` lets each class count "
                "alike in the loss"
            )
        if balance in ("oversample", "undersample"):
            learned = (oversample if balance == "oversample" else undersample)(learned, seed)
            self.notes.append(f"train: {len(learned):,} rows after data.balance: {balance}")
        if balance != "weights":
            return learned, {}
        weights = class_weights(counts)
        extremes = " to ".join(f'{weights[x]:.2f} ("{excerpt(x)}")' for x in _extremes(weights))
        self.notes.append(f"data.balance: weights, a row counts from {extremes}")
        return learned, weights

    def require_labels_to_map(self) -> None:
        """Raises DataProblemError [data/nothing-to-map] when rows without labels are to get others."""
        rows = (example.row for examples in self.examples.values() for example in examples)
        if self.options.label_map and not any(map(labels_in, rows)):
            raise DataProblemError(
                "data/nothing-to-map",
                "labels are mapped where rows have labels; these rows have none",
                where="data.label_map",
                hint="leave `data.label_map` out",
            )

    def _require_no_balance(self) -> None:
        """Raises DataProblemError [data/nothing-to-balance] when rows without one label each are to be evened out."""
        if self.options.balance != "none":
            raise DataProblemError(
                "data/nothing-to-balance",
                "classes are evened out where each row has one label; these rows do not",
                where="data.balance",
                hint="leave `data.balance` out",
            )

    def report(self, problems: Sequence[Problem], part: Split) -> None:
        self.problems += problems
        for (code, action), count in Counter((problem.code, problem.action) for problem in problems).items():
            self.notes.append(f"{part}: {count:,} {_FOUND[code]} {action}")

    def _facts(self, path: Path, name: str) -> FileFacts:
        sha256, size = folder_sha256(path) if path.is_dir() else (file_sha256(path), path.stat().st_size)
        twin = next((other for other, facts in self.files.items() if facts["sha256"] == sha256), None)
        if twin is not None:
            raise DataProblemError(
                "data/same-file",
                f'holds the same bytes as "{twin}"',
                where=name,
                hint="name each file once; without a test file, test rows are split off the training rows",
            )
        return FileFacts(sha256=sha256, bytes=size, rows=0)


def _few(labels: set[str]) -> str:
    shown = ", ".join(f'"{excerpt(label)}"' for label in sorted(labels)[:3])
    return f"{shown} ..." if len(labels) > 3 else shown


def _extremes(weights: Mapping[str, float]) -> tuple[str, str]:
    """The labels whose rows count least and most."""
    return min(weights, key=lambda x: (weights[x], x)), max(weights, key=lambda x: (weights[x], x))


def _check_sizes(splits: Mapping[Split, Sequence[Example]], options: DataOptions) -> None:
    if all(splits.values()):
        return
    hint = "add rows: at least two per label, and a dozen in all, so that some can validate and some can judge"
    if sum(map(len, splits.values())) > _SHOWN and (options.near_duplicates or options.group_by):
        hint = "too many rows stay together: those that say almost the same (`data: {near_duplicates: false}` tears "
        hint += "them apart) and those of one group (`data.group_by`)"
    elif sum(map(len, splits.values())) > _SHOWN:
        hint = "too many rows stay together, those that have a text in common: add rows with texts of their own, or "
        hint += "give files of their own with `data.validation` and `data.test`"
    sizes = ", ".join(f"{len(rows)} {part}" for part, rows in splits.items())
    raise DataProblemError(
        "data/too-few-rows",
        f"every part needs rows, there are {sizes}",
        hint=hint,
    )


def _check_known_labels(splits: Mapping[Split, Sequence[Example]]) -> None:
    """Refuses labels in validation or test that the model never sees in train."""
    known = sorted({label for example in splits[Split.TRAIN] for label in labels_in(example.row)})
    judged_on = (e for part in (Split.VALIDATION, Split.TEST) for e in splits[part])
    strangers = [e for e in judged_on if not set(labels_in(e.row)) <= set(known)]
    if not strangers:
        return
    label = labels_in(strangers[0].row)[0]
    close = nearest(label, known)
    target = close or "A_KNOWN_LABEL"
    raise DataProblemError(
        "data/unknown-label",
        f'"{excerpt(label)}" is not one of the {len(known)} labels of the training rows',
        where=str(strangers[0].origin),
        known=[excerpt(name) for name in known],
        details=[f'{example.origin}: "{excerpt(labels_in(example.row)[0])}"' for example in strangers[:_SHOWN]],
        hint=f"add training rows with this label, or map it: `data: {{label_map: {{{excerpt(label)}: {target}}}}}`",
    )


def rows_sha256(examples: Sequence[Example]) -> str:
    """sha256 over the sorted canonical rows: equal for the same rows in any order."""
    return canonical_sha256(sorted(_canonical(example.row) for example in examples))


def _split_fingerprint(splits: Mapping[Split, Sequence[Example]]) -> str:
    return canonical_sha256({part: sorted(_canonical(e.row) for e in rows) for part, rows in splits.items()})


def _canonical(row: Row) -> str:
    """What a row is, wherever it lies: an image is its bytes, not its path."""
    return canonical_json({name: value for name, value in row.items() if name != "image" or "sha256" not in row})
