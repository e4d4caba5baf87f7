"""Options of the `data` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from burnish.settings import Options

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "arrow", "conll", "text", "markdown", "html"]
FORMAT_NAMES: tuple[str, ...] = get_args(Format)
Files = str | Annotated[tuple[str, ...], Field(min_length=1)]
Ratio = Annotated[float, Field(gt=0, lt=0.5)]


class DataOptions(Options):
    """Which files to read, how to read them, what to clean and how to split."""

    train: Files = Field(
        description="file or files of the training rows, relative to the recipe's folder; patterns such as "
        "tickets/*.csv and URLs (hf://datasets/OWNER/NAME/FILE, s3://, gs://, az://) are understood"
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
    max_row_bytes: int = Field(default=8 * 1024**2, ge=1024, description="longest row that is read, in bytes")

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


def _as_tuple(files: Files | None) -> tuple[str, ...]:
    return (files,) if isinstance(files, str) else files or ()
