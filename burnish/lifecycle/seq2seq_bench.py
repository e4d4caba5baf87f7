"""An encoder with a decoder at work: sources and targets as tokens, its texts at every evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from burnish.data.prepare import PreparedData
from burnish.engine.distributed import join_ranks
from burnish.engine.layout_choice import choose_layout
from burnish.errors import DataProblemError
from burnish.lifecycle.own import Own
from burnish.lifecycle.workbench import settled_machine
from burnish.lifecycle.writing_bench import WritingBench, encode_written
from burnish.model.families import TESTED_SEQ2SEQ
from burnish.model.language import load_language_model
from burnish.model.load import Base, load_tokenizer, require_known_tokens, require_two_stacks
from burnish.model.marks import find_marks
from burnish.recipe.schema import Recipe
from burnish.serving.seq2seq_package import save_seq2seq
from burnish.serving.writer import Writer
from burnish.storage.run_folder import RunFolder
from burnish.task.seq2seq import TOO_LONG, Seq2Seq
from burnish.types import Example, Problem, Progress, Split

STORY_SOURCES, STORY_TOKENS = 3, 96  # validation sources written for at every evaluation, and tokens of each text


@dataclass(slots=True)
class Seq2SeqBench(WritingBench):
    """A base that reads with one stack and writes with another."""

    too_long: ClassVar[str] = TOO_LONG

    @classmethod
    def set_up(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: type[Seq2Seq],
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> Seq2SeqBench:
        """Loads the base or draws its weights, encodes all rows, and chooses the precision."""
        require_two_stacks(base)
        if base.model_type not in TESTED_SEQ2SEQ:
            progress.warn(
                f"{base.model_type} is a family that burnish was not tested with; the self-test before the first step "
                "says whether its numbers can be relied on"
            )
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
        task = task_class(
            load_tokenizer(base.folder),
            find_marks(base.folder),
            max_length=base.max_length,
            max_target_length=recipe.model.max_target_length or base.max_length,
        )
        model = load_language_model(base).to(device)
        require_known_tokens(task.tokenizer, model.causal, base.folder)
        encoded, kept, problems = encode_written(
            task,
            data,
            recipe,
            progress,
            too_long=cls.too_long,
            limit=f"{task.max_length:,} tokens of a source or {task.max_target_length:,} of a target",
            nothing_learned=_nothing_learned,
        )
        return cls(
            recipe=recipe,
            base=base,
            data=dataclasses.replace(data, splits={**data.splits, **kept}),
            task=task,
            own=own,
            folder=folder,
            progress=progress,
            encoded=encoded,
            problems=problems,
            layout=choose_layout(model.encoder, encoded[Split.TRAIN], device=device),
            precision=precision,
            device=device,
            model=model,
            ranks=ranks,
        )

    def keep_answers(self, step: int) -> None:
        """Texts for the first validation sources as the model writes them after `step`, in samples.jsonl."""
        rows = [example.row for example in self.data.splits[Split.VALIDATION][:STORY_SOURCES]]
        most = min(STORY_TOKENS, self.task.max_target_length)
        said = Writer(self.model, self.task).write(rows, max_new_tokens=most)
        self.keep_samples(
            step,
            [
                {"prompt": row["source"], "answer": text.text, "stopped": text.stopped, "reference": row["target"]}
                for row, text in zip(rows, said, strict=True)
            ],
        )

    def save_final(self, model: Any) -> None:
        self.progress.stage("saving the model")
        assert self.recipe.method is not None
        save_seq2seq(
            self.folder.final,
            model.cpu(),
            base=self.base,
            max_length=self.task.max_length,
            max_target_length=self.task.max_target_length,
            task=self.task.name,
            method=self.recipe.method.name,
        )
        self.folder.event("saved", path="final")


def _nothing_learned(split: Split, examples: Sequence[Example], problems: Sequence[Problem]) -> DataProblemError:
    """The error for a part without one row to learn from."""
    first = problems[-len(examples)] if examples else None
    return DataProblemError(
        "seq2seq/nothing-learned",
        f"no {split.value} row can be learned from: {first.reason if first else 'there is none'}",
        where=str(first.origin) if first else None,
        hint="sources are read up to model.max_length tokens, targets written up to model.max_target_length",
    )
