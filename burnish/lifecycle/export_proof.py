"""The proof of an export: the trained model and the export, each in its own program, on the same rows.

What the trained model says is computed once, before anything is exported, and kept for every form.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from burnish.engine.predict import answers_of_numbers
from burnish.evaluation.similarity import ScoredTexts, Search
from burnish.lifecycle.chat_bench import prompt_of
from burnish.model.generate import Answer, Sampling, generate
from burnish.model.prompt import prompt_ids
from burnish.model.template import for_template
from burnish.serving.answer import Answerer
from burnish.serving.exports.llama_cpp import LlamaCpp
from burnish.serving.exports.plain import PlainWriter
from burnish.serving.exports.proof import Agreement, Written, agreement, agreement_of_writing
from burnish.serving.exports.reading import Array, Read, differing_tokens
from burnish.serving.predict import Predictor
from burnish.serving.table_predict import ROWS_ARE_ALIKE, TablePredictor
from burnish.serving.writer import Writer
from burnish.types import Encoded, Example, Row

PIECE = 32  # tokens of a plain text that are gone on from, at most
NEW_TOKENS = 32  # of an answer, where the verdict asked for none


class Reader(Protocol):
    """An exported encoder at work in its own program."""

    def read(self, row: Row, positions: Sequence[int] | None) -> Read: ...
    def numbers(self, reads: Sequence[Read]) -> list[Array]: ...
    def numbers_of_images(self, rows: Sequence[Row]) -> list[Array]: ...


@dataclass(frozen=True, slots=True)
class Compared:
    """The same rows, answered by both.

    Attributes:
        before, after: answers of the trained model and of the export, as metrics compare them.
        seconds: for a row, of both.
        whole: the same with weights in float32, where the export's own are rounded and shown to differ.
    """

    agreement: Agreement
    before: Sequence[Any]
    after: Sequence[Any]
    seconds: tuple[float, float]
    whole: Agreement | None = None


@dataclass(slots=True)
class TrainedReader:
    """A tuned encoder, or image model, and what it says of some rows in float32.

    Args:
        final: the run's model.
        rows: of its task.
    """

    final: Path
    runs: Path
    rows: Sequence[Row]
    predictor: Predictor = field(init=False)
    encoded: list[Encoded] = field(init=False)
    numbers: list[Array] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.predictor = Predictor(self.final, runs=self.runs, precision="fp32")
        self.encoded = self.predictor.encoded(self.rows)
        started = time.perf_counter()
        found = self.predictor.logits(self.rows)
        self.seconds = (time.perf_counter() - started) / len(self.rows)
        counts = [1 if row.read_positions is None else len(row.read_positions) for row in self.encoded]
        self.numbers = np.split(found, np.cumsum(counts)[:-1])
        if self.predictor.task.name == "embedding":
            self.numbers = [each / np.linalg.norm(each) for each in self.numbers]

    def compared(self, reader: Reader) -> Compared:
        """The same rows by an export."""
        started = time.perf_counter()
        other_tokens: list[int] = []
        if "image" in self.rows[0]:
            found = reader.numbers_of_images(self.rows)
        else:
            places = [None if row.read_positions is None else row.read_positions.tolist() for row in self.encoded]
            reads = [reader.read(row, own) for row, own in zip(self.rows, places, strict=True)]
            other_tokens = differing_tokens([row.token_ids.tolist() for row in self.encoded], reads)
            found = reader.numbers(reads) if not other_tokens else self.numbers
        seconds = (time.perf_counter() - started) / len(self.rows)
        before, after = self._answers(self.numbers), self._answers(found)
        unit = "cosine" if self.predictor.task.name == "embedding" else "logit"
        said = (before, after) if unit == "logit" and _discrete(before) else None
        agreed = agreement(self.numbers, found, unit=unit, said=said, other_tokens=other_tokens)
        return Compared(agreed, before, after, (self.seconds, seconds))

    def _answers(self, numbers: Sequence[Array]) -> list[Any]:
        """What the task makes of numbers; of an embedding the vector itself."""
        if self.predictor.task.name == "embedding":
            return [each[0] for each in numbers]
        task = self.predictor.task
        said = self.predictor.said(self.encoded, numbers)
        return [task.answer(task.shown(row, each)) for row, each in zip(self.rows, said, strict=True)]


def _discrete(answers: Sequence[Any]) -> bool:
    """Whether answers are labels or words; numbers hardly ever agree to the last bit."""
    return not isinstance(answers[0], float)


@dataclass(slots=True)
class TrainedTable:
    """A table's transformer, and what it says of some rows."""

    final: Path
    rows: Sequence[Row]
    predictor: TablePredictor = field(init=False)
    encoded: list[Encoded] = field(init=False)
    numbers: list[Array] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        from burnish.engine.predict import pooled_features

        self.predictor = TablePredictor(self.final, precision="fp32")
        task, computed = self.predictor.task, self.predictor
        features = [{"features": row["features"]} for row in self.rows]
        self.encoded = [row for row in task.encode_all(features) if isinstance(row, Encoded)]
        started = time.perf_counter()
        found = pooled_features(
            computed.model, self.encoded, layout=ROWS_ARE_ALIKE, precision=computed.precision, device=computed.device
        )
        self.seconds = (time.perf_counter() - started) / len(self.rows)
        self.numbers = np.split(found, len(self.rows))

    def compared(self, numbers_of_table: Callable[[Array, Array], list[Array]]) -> Compared:
        """The same rows by an export, from the same tokens and numbers."""
        given = [row.given for row in self.encoded if row.given is not None]
        started = time.perf_counter()
        found = numbers_of_table(np.stack([row.token_ids for row in self.encoded]), np.stack(given))
        seconds = (time.perf_counter() - started) / len(self.rows)
        before, after = self._answers(self.numbers), self._answers(found)
        labels = self.predictor.task.labels
        said = tuple([int(np.argmax(each)) for each in side] for side in (before, after)) if labels else None
        unit = "logit" if labels else "standard deviation of the target"
        agreed = agreement(self.numbers, found, unit=unit, said=said)  # type: ignore[arg-type]  # two sides
        return Compared(agreed, before, after, (self.seconds, seconds))

    def _answers(self, numbers: Sequence[Array]) -> list[Any]:
        task = self.predictor.task
        said = answers_of_numbers(task, self.encoded, numbers, layout=ROWS_ARE_ALIKE)
        raw = [tuple(row["probabilities"]) if task.labels else row["value"] for row in said]
        return self.predictor.calibrated(raw, "transformer")


@dataclass(slots=True)
class TrainedWriter:
    """A tuned language model, or encoder with a decoder, and what it writes greedily to some rows in float32.

    Args:
        most: tokens of an answer.
    """

    final: Path
    runs: Path
    rows: Sequence[Row]
    task: str
    most: int = NEW_TOKENS
    model: Any = field(init=False)
    tokenizer: Any = field(init=False)
    ends: list[int] = field(init=False)
    context: int = field(init=False)
    prompts: list[list[int]] = field(init=False)
    answers: list[Answer] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        if self.task == "seq2seq":
            writer = Writer.of_run(self.final, runs=self.runs)
            self.model, self.tokenizer = writer.model.causal, writer.task.tokenizer
            self.ends, self.context = [writer.task.marks.end], writer.task.max_length
            ids = [writer.task.source_ids(row["source"]) for row in self.rows]
            self.prompts = [each for each in ids if isinstance(each, list)]
        else:
            answerer = Answerer.of_run(self.final, runs=self.runs)
            self.model, self.tokenizer = answerer.model.causal, answerer.masker.tokenizer
            self.ends, self.context = answerer.ends, answerer.context
            self.prompts = [_prompt(answerer, row) for row in self.rows]
        self.most = max(1, min(self.most, self.context - max(map(len, self.prompts))))
        started = time.perf_counter()
        self.answers = generate(self.model, self.prompts, ends=self.ends, sampling=Sampling(max_new_tokens=self.most))
        self.seconds = (time.perf_counter() - started) / len(self.rows)

    def compared(self, writer: PlainWriter) -> Compared:
        """The same prompts by an export that transformers opens: logits of the first token, and whole answers."""
        started = time.perf_counter()
        prompts = [self._read(writer, index) for index in range(len(self.rows))]
        found = [writer.answer(ids, ends=self.ends, most=self.most) for ids in prompts]
        seconds = (time.perf_counter() - started) / len(self.rows)
        other = [row for row, (own, ids) in enumerate(zip(self.prompts, prompts, strict=True)) if own != ids]
        trained = [self._logits(ids)[None] for ids in self.prompts]
        exported = [writer.logits(ids)[None] for ids in prompts]
        said = ([each.token_ids for each in self.answers], found)
        agreed = agreement(trained, exported, unit="logit", said=said, other_tokens=other)
        return Compared(agreed, self.texts(), self.decoded(found), (self.seconds, seconds))

    def compared_in_llama(self, llama: LlamaCpp, *, tolerance: float) -> Compared:
        """The same prompts by llama.cpp: tokens and their log-probabilities up to the first one that differs."""
        started = time.perf_counter()
        prompts = [self._read(llama, index) for index in range(len(self.rows))]
        found = [llama.answer(ids, most=self.most, ends=self.ends) for ids in prompts]
        seconds = (time.perf_counter() - started) / len(self.rows)
        written = [
            self._written(index, ids, answer.token_ids, answer.log_probabilities)
            for index, (ids, answer) in enumerate(zip(prompts, found, strict=True))
        ]
        agreed = agreement_of_writing(written, tolerance=tolerance)
        return Compared(agreed, self.texts(), self.decoded([each.token_ids for each in found]), (self.seconds, seconds))

    def texts(self) -> list[str]:
        """The trained model's answers as texts."""
        return self.decoded([each.token_ids for each in self.answers])

    def decoded(self, answers: Sequence[Sequence[int]]) -> list[str]:
        return [self.tokenizer.decode(list(ids), skip_special_tokens=True).strip() for ids in answers]

    def _read(self, export: PlainWriter | LlamaCpp, index: int) -> list[int]:
        """The prompt of a row through the export's own template and tokenizer; a plain text has no template."""
        row = self.rows[index]
        if "source" in row and isinstance(export, PlainWriter):
            return export.source_ids(row["source"])
        if "text" in row:
            return list(self.prompts[index])
        asked = prompt_of(row)
        return export.prompt([for_template(message) for message in asked.messages], asked.tools)

    @torch.inference_mode()
    def _logits(self, ids: Sequence[int]) -> Array:
        """(V,) of the first token that is written."""
        given = {"input_ids": torch.tensor([[*prompt_ids(self.model), *ids]]).to(self.model.device)}
        if self.task == "seq2seq":
            given["decoder_input_ids"] = torch.tensor([[self.model.config.decoder_start_token_id]])
        found: Array = self.model(**given).logits[0, -1].float().cpu().numpy()
        return found

    @torch.inference_mode()
    def _written(
        self, index: int, ids: Sequence[int], other: Sequence[int], by_export: Sequence[float | None]
    ) -> Written:
        """Both answers to a prompt up to where they part, with what the trained model thinks of each token."""
        answer, prompt = self.answers[index], self.prompts[index]
        own = [*answer.token_ids, *(self.ends[:1] if answer.stopped else ())]
        theirs = [*other, *(self.ends[:1] if len(other) < self.most else ())]
        same = next(
            (i for i, (x, y) in enumerate(zip(own, theirs, strict=False)) if x != y), min(len(own), len(theirs))
        )
        tokens = torch.tensor([[*prompt, *answer.token_ids]]).to(self.model.device)
        logs_SV = torch.log_softmax(self.model(input_ids=tokens).logits[0, len(prompt) - 1 :].float(), dim=-1)
        logs = [float(logs_SV[place, token]) for place, token in enumerate(answer.token_ids[:same])]
        gap = None
        if same < min(len(own), len(theirs)):
            ahead_V = logs_SV[same]
            gap = float(ahead_V.max() - ahead_V[_likeliest(ahead_V, theirs[same], self.ends)])
        return Written(answer.token_ids, other, (logs, list(by_export[: len(logs)])), gap, list(ids) != prompt)


def _likeliest(logs_V: torch.Tensor, token: int, ends: Sequence[int]) -> int:
    """The token an export wrote; of an end the likeliest one, since it does not say which."""
    return max(ends, key=lambda end: float(logs_V[end])) if token in ends else token


def _prompt(answerer: Answerer, row: Row) -> list[int]:
    """What the model is given: a conversation up to its last turn, or the first half of a plain text."""
    if "text" not in row:
        asked = prompt_of(row)
        return answerer.masker.prompt(asked.messages, asked.tools)
    template, tokenizer = answerer.masker.template, answerer.masker.tokenizer
    begin = tokenizer.token_to_id(template.tokens.get("bos_token", ""))
    ids = tokenizer.encode(row["text"], add_special_tokens=False).ids
    own = ids[: max(1, min(PIECE, len(ids) // 2))]
    return own if begin is None else [begin, *own]


def searched(trial: Search | ScoredTexts, vectors: Sequence[Array]) -> list[Any]:
    """What vectors of the texts of both sides of a trial say, as its metrics compare it."""
    first, _ = trial.sides
    both = np.stack(list(vectors))
    return list(trial.answers(both[: len(first)], both[len(first) :]))


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` rows, evenly spread."""
    places = np.unique(np.linspace(0, len(examples) - 1, min(len(examples), count)).round().astype(int))
    return [examples[place] for place in places.tolist()]


def per_row(compared: Compared) -> Mapping[str, float]:
    """Seconds of a row, of both."""
    trained, exported = compared.seconds
    return {"trained": round(trained, 6), "exported": round(exported, 6)}
