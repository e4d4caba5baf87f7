"""An encoder with a decoder that writes a text for a source: the same tokens and ends as in training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from burnish.engine.precision import Precision, choose_device, choose_precision
from burnish.errors import DataProblemError
from burnish.model.generate import Sampling, generate
from burnish.model.language import LanguageModel, load_language_model
from burnish.model.load import Base, load_tokenizer
from burnish.model.marks import find_marks
from burnish.serving.answer import Said
from burnish.serving.seq2seq_package import load_seq2seq
from burnish.task.seq2seq import Seq2Seq
from burnish.types import Refusal, Row


class Writer:
    """Writes texts for sources, taking the likeliest token each time.

    Args:
        model: in evaluation mode.
        task: with tokenizer, marks and limits of the training.
    """

    def __init__(self, model: LanguageModel, task: Seq2Seq) -> None:
        self.model = model
        self.task = task
        self.device: torch.device = next(model.parameters()).device
        self.precision: Precision = choose_precision("auto", self.device)

    @classmethod
    def of_run(cls, final: Path, *, runs: Path) -> Writer:
        """The tuned model of a run."""
        package = load_seq2seq(final, runs=runs)
        about = package.description
        limits = {name: int(about[name]) for name in ("max_length", "max_target_length")}
        task = Seq2Seq(load_tokenizer(final), find_marks(package.base.folder), **limits)
        return cls(package.model.to(choose_device()).eval(), task)

    @classmethod
    def of_base(cls, base: Base, task: Seq2Seq) -> Writer:
        """A base as it comes."""
        return cls(load_language_model(base).to(choose_device()).eval(), task)

    def write(
        self,
        sources: Sequence[str | Row],
        *,
        max_new_tokens: int | None = None,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Said]:
        """A text for each source, in order.

        Args:
            sources: texts, or rows with `source`.
            max_new_tokens: after which a text is cut; None: the longest target the training allowed.

        Raises:
            DataProblemError: [predict/bad-text] when something is not a text, is empty or is longer than is read.
        """
        return self.write_ids(self.prepared(sources), max_new_tokens=max_new_tokens, advance=advance)

    def prepared(self, sources: Sequence[str | Row]) -> list[list[int]]:
        """The sources as the encoder reads them.

        Raises:
            DataProblemError: as `write` does.
        """
        return [self._ids(index, source) for index, source in enumerate(sources)]

    def write_ids(
        self,
        ids: Sequence[Sequence[int]],
        *,
        max_new_tokens: int | None = None,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Said]:
        """A text for each source that was prepared, in order."""
        sampling = Sampling(max_new_tokens=max_new_tokens or self.task.max_target_length)
        with self.precision.compute(self.device):
            found = generate(self.model.causal, ids, ends=[self.task.marks.end], sampling=sampling, advance=advance)
        decode = self.task.tokenizer.decode
        return [
            Said(decode(each.token_ids, skip_special_tokens=True).strip(), len(each.token_ids), each.stopped)
            for each in found
        ]

    def _ids(self, index: int, source: str | Row) -> list[int]:
        text = source.get("source") if isinstance(source, Mapping) else source
        ids = self.task.source_ids(text) if isinstance(text, str) else Refusal("", '"source" is missing, or no text')
        if isinstance(ids, Refusal):
            raise DataProblemError("predict/bad-text", ids.reason, where=f"item {index + 1}")
        return ids
