"""A language model at work: conversations with the tokens it learns, its answers at every evaluation, its ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from burnish.data.prepare import PreparedData
from burnish.engine.choice import Limit
from burnish.engine.distributed import join_ranks
from burnish.engine.layout_choice import choose_layout
from burnish.engine.rows import EncodedRows
from burnish.engine.segments import own_attention
from burnish.errors import DataProblemError, RecipeError, excerpt
from burnish.evaluation.forgetting import ProbeScore, worst_rise
from burnish.lifecycle.forgetting import ProbeRows, kept_rows, probe_rows, with_forgetting
from burnish.lifecycle.own import Own
from burnish.lifecycle.workbench import settled_machine
from burnish.lifecycle.writing_bench import WritingBench, encode_written
from burnish.method.options import LoraOptions, QLoraOptions
from burnish.model.families import TESTED
from burnish.model.generate import Sampling
from burnish.model.language import LanguageModel, load_language_model, require_generative, untrained_tokens
from burnish.model.load import Base, load_tokenizer, require_known_tokens
from burnish.model.quantized import NF4
from burnish.model.template import find_template
from burnish.recipe.schema import Recipe
from burnish.serving.answer import Answerer, Prompt
from burnish.serving.language_package import save_language_model
from burnish.storage.run_folder import RunFolder
from burnish.task.mask import Masker
from burnish.task.preference import Preference, UnpairedPreference
from burnish.types import Example, Problem, Progress, Row, Split

LONGEST = 8_192  # tokens of a conversation unless model.max_length says more: what most machines can train on
STORY_PROMPTS, STORY_TOKENS = 3, 96  # validation prompts answered at every evaluation, and tokens of each answer


@dataclass(slots=True)
class ChatBench(WritingBench):
    """A base with its own head for words, its template, and the tokens that end a turn."""

    too_long: ClassVar[str] = "chat/too-long"
    ends: list[int] = field(default_factory=list)
    probes: ProbeRows | None = None

    @classmethod
    def set_up(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: Any,
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> ChatBench:
        """Loads the base, finds what is learned in every row, and chooses layout and precision."""
        require_generative(base)
        if base.model_type not in TESTED:
            progress.warn(
                f"{base.model_type} is a family that burnish was not tested with; the self-test before the first step "
                "says whether its numbers can be relied on"
            )
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
        base = dataclasses.replace(base, context=min(base.context, recipe.model.max_length or LONGEST))
        if isinstance(recipe.method, QLoraOptions):
            base = _in_four_bits(base)
        masker = Masker(find_template(base.folder, recipe.model.chat_template), load_tokenizer(base.folder))
        task = build_task(task_class, masker, recipe, base.context)
        frozen = isinstance(recipe.method, LoraOptions) and precision.name == "bf16"
        model = load_language_model(base, device, frozen=frozen).to(device)
        require_known_tokens(masker.tokenizer, model.encoder, base.folder)
        encoded, kept, problems = encode_written(
            task,
            data,
            recipe,
            progress,
            too_long=cls.too_long,
            limit=f"{task.max_length:,} tokens",
            nothing_learned=partial(_nothing_learned, task),
        )
        probes = probe_rows(recipe, masker, base.context)
        kept_again = kept_rows(recipe, task, folder)
        layout = choose_layout(model.encoder, encoded[Split.TRAIN], device=device, weights=base.weights_known_as())
        ends = _ends(encoded[Split.TRAIN], masker)
        if recipe.method is not None and recipe.method.name != "full":
            taught = [token for token in ends if token in encoded[Split.TRAIN].arrays["targets"]]
            _warn_of_untrained(model, taught, masker, recipe.method.name, progress)
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
            layout=layout,
            precision=precision,
            device=device,
            model=model,
            ranks=ranks,
            ends=ends,
            probes=probes,
            kept_rows=kept_again,
        )

    def hear_base(self) -> None:
        WritingBench.hear_base(self)
        if self.ranks.leads:
            self.ask_base()

    def ask_base(self) -> None:
        """What the base makes of the probes; asked once."""
        if self.probes is not None and not self.probes.base:
            with self.model.as_base():
                self.probes.base = self._probed(self.model)

    def limit(self) -> Limit | None:
        """The rise of the loss on probes over the base's, and how much of it the recipe tolerates."""
        if self.probes is None:
            return None
        probes, vocabulary = self.probes, self._vocabulary()

        def rise(model: Any) -> float:
            self.ask_base()  # a run that goes on behind its last evaluation has not
            return worst_rise(probes.probes, probes.base, self._probed(model), vocabulary=vocabulary)

        return Limit(rise, self.recipe.evaluation.forgetting.tolerance)

    def with_gates(self, evaluation: dict[str, Any], tuned: LanguageModel) -> dict[str, Any]:
        """evaluation.json's content with what the tuned model, loaded as it was saved, forgot."""
        if self.probes is None:
            return evaluation
        self.ask_base()
        self.progress.stage("what the tuned model forgot")
        scores = self._probed(tuned)
        return with_forgetting(evaluation, self.probes, scores, self.recipe, self._vocabulary())

    def _vocabulary(self) -> int:
        size: int = self.task.masker.tokenizer.get_vocab_size()
        return size

    def _probed(self, model: Any) -> list[ProbeScore]:
        assert self.probes is not None
        return self.probes.scores(model, precision=self.precision, device=self.device)

    def keep_answers(self, step: int) -> None:
        """Answers to the first validation prompts as the model gives them after `step`, in samples.jsonl."""
        asked = [e for e in self.data.splits[Split.VALIDATION] if "text" not in e.row][:STORY_PROMPTS]
        if not asked:
            return
        prompts = [prompt_of(example.row) for example in asked]
        context = self.base.context
        answerer = Answerer(self.model, self.task.masker, ends=self.ends, context=context, learning=True)
        fitting = [i for i, prompt in enumerate(prompts) if answerer.fits(prompt, 8)]
        with own_attention(self.model):
            said = answerer.answer([prompts[i] for i in fitting], Sampling(max_new_tokens=STORY_TOKENS))
        self.keep_samples(
            step,
            [
                {
                    "prompt": last_words(prompts[i]),
                    "answer": answer.text,
                    "stopped": answer.stopped,
                    "reference": reference_of(self.task, asked[i].row),
                }
                for i, answer in zip(fitting, said, strict=True)
            ],
        )

    def save_final(self, model: Any) -> None:
        self.progress.stage("saving the model")
        assert self.recipe.method is not None
        save_language_model(
            self.folder.final,
            model.cpu(),
            base=self.base,
            template=self.task.masker.template,
            ends=self.ends,
            task=self.task.name,
            method=self.recipe.method.name,
        )
        self.folder.event("saved", path="final")


def build_task(task_class: Any, masker: Masker, recipe: Recipe, max_length: int) -> Any:
    """The task a recipe asks for, over the template and tokenizer of its base."""
    limits: dict[str, Any] = {"max_length": max_length, "long_rows": recipe.data.long_conversations}
    if issubclass(task_class, Preference):
        chosen = UnpairedPreference if recipe.preference.loss == "kto" else task_class
        return chosen(masker, recipe.preference, **limits)
    return task_class(masker, **limits)


def _in_four_bits(base: Base) -> Base:
    """The base as `qlora` loads it.

    Raises:
        RecipeError: [recipe/invalid] for the adapter of an earlier run, which is not rounded with its base.
    """
    if base.adapter is not None:
        raise RecipeError(
            "recipe/invalid",
            f'"{base.name}" is an adapter; method: qlora starts from whole weights',
            where="method",
            hint="write `method: lora`, or name the base under it",
        )
    return dataclasses.replace(base, quantization=NF4)


def _warn_of_untrained(
    model: LanguageModel, ends: Sequence[int], masker: Masker, method: str, progress: Progress
) -> None:
    """Says that a turn's end cannot be learned while the head stays as it is."""
    for token, others in untrained_tokens(model, ends).items():
        progress.warn(
            f"{masker.tokenizer.id_to_token(token)}, which ends a turn, was never trained in this base: its vector is "
            f"that of {others:,} other tokens, and method: {method} leaves it so. The model cannot learn to stop; use "
            "method: full, or a base that was tuned on conversations"
        )


def prompt_of(row: Row) -> Prompt:
    """What comes before the last turn of the assistant, or before the answers that are compared."""
    return Prompt(row["prompt"] if "prompt" in row else row["messages"][:-1], row.get("tools"))


def last_words(prompt: Prompt) -> str:
    """What was said last before the answer, for people."""
    return str(prompt.messages[-1].get("content") or "") if prompt.messages else ""


def reference_of(task: Any, row: Row) -> str:
    """The last turn of the assistant as the template writes it, without what ends it; of a pair the better answer."""
    segment = task.segments(row)[-1] if "messages" in row else task.answers(row)[0]
    learned = np.flatnonzero(segment.learned)
    start = learned[np.flatnonzero(np.diff(learned, prepend=learned[0] - 2) > 1)[-1]]
    text: str = task.masker.tokenizer.decode(segment.token_ids[start : learned[-1]].tolist(), skip_special_tokens=True)
    return text.strip()


def _ends(rows: EncodedRows, masker: Masker) -> list[int]:
    """The tokens that end a learned turn, and the end of a text; sorted."""
    found: set[int] = set()
    for row in rows:
        assert row.read_positions is not None
        last = np.append(np.diff(row.read_positions) != 1, True)
        found.update(int(i) for i in row.targets[last] if int(i) in masker.marks)
    end = masker.tokenizer.token_to_id(masker.template.tokens.get("eos_token", ""))
    return sorted(found | ({end} if end is not None else set()))


def _nothing_learned(
    task: Any, split: Split, examples: Sequence[Example], problems: Sequence[Problem]
) -> DataProblemError:
    """The error for a part without one row to learn from; shows how the template writes its first row."""
    first = problems[-len(examples)] if examples else None
    shown = ""
    if examples and "messages" in examples[0].row:
        try:
            row = examples[0].row
            shown = task.masker.template.render(row["messages"], tools=row.get("tools"))
        except ValueError as error:
            shown = str(error)
    return DataProblemError(
        "chat/nothing-learned",
        f"no {split.value} row can be learned from: {first.reason if first else 'there is none'}",
        where=str(first.origin) if first else None,
        details=[f"as the template writes it: {excerpt(shown, 400)}"] if shown else [],
        hint="look at what is learned: burnish check DATA --show-mask 3 --base BASE",
    )
