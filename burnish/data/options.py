"""Options of the `data` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from burnish.settings import Options

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "arrow", "conll", "text", "markdown", "html", "image-folder"]
FORMAT_NAMES: tuple[str, ...] = get_args(Format)
Files = str | Annotated[tuple[str, ...], Field(min_length=1)]
Ratio = Annotated[float, Field(gt=0, lt=0.5)]
Balance = Literal["none", "weights", "oversample", "undersample"]


class CleanOptions(Options):
    """Repairs of the rows, in this order. Each row that is changed or dropped is listed with its reason."""

    relabel: str | None = Field(
        default=None, description="corrections file, as `burnish audit --apply` writes it, relative to the recipe"
    )
    redact: bool = Field(
        default=False,
        description="replace e-mail addresses, phone numbers, cards, bank accounts, IP addresses and keys by their "
        "kind in brackets, in every part",
    )
    near_duplicates: bool = Field(
        default=False,
        description="drop training rows that say almost the same as an earlier one with the same label",
    )
    max_characters: int | None = Field(default=None, ge=1, description="longest text of a training row; null: any")
    long_rows: Literal["truncate", "drop"] = Field(
        default="truncate", description="what becomes of training rows with a text over `max_characters`"
    )
    length_outliers: Literal["keep", "cap", "drop"] = Field(
        default="keep",
        description="what becomes of training rows whose text is far longer or shorter than the others "
        "(three interquartile ranges of the log length); cap cuts the long ones to the fence",
    )


class DataOptions(Options):
    """Which files to read, how to read them, what to clean and how to split."""

    train: Files = Field(
        description="file or files of the training rows, relative to the recipe's folder, or a folder of images; "
        "patterns such as tickets/*.csv and URLs (hf://datasets/OWNER/NAME/FILE, s3://, gs://, az://) are understood"
    )
    validation: Files | None = Field(
        default=None, description="file or files of the validation rows; null: they are split off the training rows"
    )
    test: Files | None = Field(
        default=None, description="file or files of the test rows; null: they are split off the training rows"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="canonical column -> column of the file, e.g. {text: body, label: intent}; others are inferred",
    )
    format: Format | None = Field(default=None, description="format of the files; null: detected")
    header: bool | None = Field(
        default=None, description="whether the first row of a CSV or TSV file names the columns; null: detected"
    )
    encoding: str = Field(default="utf-8", description="text encoding of the files; a UTF-8 byte order mark is skipped")
    label_map: dict[str, str] = Field(default_factory=dict, description="label in the file -> label to learn")
    merge_label_variants: bool = Field(
        default=False,
        description="merge labels that differ only by case or whitespace into their most frequent spelling",
    )
    deduplicate: bool = Field(
        default=True, description="drop repeated training rows, and rows whose text has contradicting labels"
    )
    validation_ratio: Ratio | None = Field(
        default=None,
        description="share of the training file's rows that validate, between 0 and 0.5; "
        "null: 0.15, or 0.10 when a test file is given",
    )
    test_ratio: Ratio = Field(
        default=0.15,
        description="share of the training file's rows held back as test rows, between 0 and 0.5; "
        "unused when a test file is given",
    )
    max_bad_ratio: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of the rows, 0 to 1, that may be unreadable before the run stops; "
        "under 20 rows in all: one row",
    )
    near_duplicates: bool = Field(
        default=True,
        description="rows that say almost the same (Jaccard index of their character 5-grams 0.8 or more) stay in one "
        "part, and training rows leave for such rows of a given validation or test file; false: equal rows only",
    )
    group_by: str | None = Field(
        default=None, description="column of the file, e.g. a user's id: rows with the same value stay in one part"
    )
    time_column: str | None = Field(
        default=None, description="column of the file with dates or numbers: the newest rows test, the next validate"
    )
    keep_columns: tuple[str, ...] = Field(
        default=(),
        description="further columns of the file that data versions keep beside text and label, e.g. for `forget`",
    )
    clean: CleanOptions = Field(
        default=CleanOptions(), description="repairs of the rows, each listed in problems.jsonl with its reason"
    )
    balance: Balance = Field(
        default="none",
        description="how uneven classes are evened out in training: weights in the loss, oversample (rows of small "
        "classes repeated) or undersample (rows of large classes left out)",
    )
    noisy_copies: int = Field(
        default=0,
        ge=0,
        le=5,
        description="copies of each training row with a typo, other case or a word less, for small sets",
    )
    long_conversations: Literal["drop", "split", "drop-first-turns", "drop-last-turns"] = Field(
        default="drop",
        description="what becomes of conversations longer than the base reads: left out, split into several, or "
        "without their first or last exchanges; no turn is ever cut",
    )
    max_row_bytes: int = Field(default=8 * 1024**2, ge=1024, description="longest row that is read, in bytes")

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns of the file that a row keeps beside its canonical ones."""
        named = (self.group_by, self.time_column, *self.keep_columns)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def train_files(self) -> tuple[str, ...]:
        return _as_tuple(self.train)

    @property
    def validation_files(self) -> tuple[str, ...]:
        return _as_tuple(self.validation)

    @property
    def test_files(self) -> tuple[str, ...]:
        return _as_tuple(self.test)

    @property
    def resolved_validation_ratio(self) -> float:
        """Share of the training file's rows that validate: as set, else 0.15, or 0.10 beside a test file."""
        if self.validation_ratio is not None:
            return self.validation_ratio
        return 0.15 if self.test is None else 0.10


class TableOptions(Options):
    """How the columns of a table are read; those that are not named are looked at."""

    predict: Literal["class", "number"] | None = Field(
        default=None,
        description="what the target is; null: a number where it has many different numbers, else a class",
    )
    positive: str | None = Field(
        default=None, description="of two classes, the one whose probability ranks the rows; null: the rarer one"
    )
    numeric: tuple[str, ...] = Field(default=(), description="columns of numbers")
    categorical: tuple[str, ...] = Field(default=(), description="columns of categories, also where they hold numbers")
    dates: tuple[str, ...] = Field(default=(), description="columns of dates such as 2026-01-31 or 2026-01-31T12:00")
    drop: tuple[str, ...] = Field(default=(), description="columns that are not known when the model is asked")


def _as_tuple(files: Files | None) -> tuple[str, ...]:
    return (files,) if isinstance(files, str) else files or ()
