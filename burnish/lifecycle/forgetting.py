"""What a language model of a run is asked before and after it is tuned, and what must not be forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.data.formats import detect_format
from burnish.data.options import DataOptions
from burnish.data.source import inspect_source, read_source
from burnish.engine.layout import LayoutChoice, position_offset
from burnish.engine.precision import Precision
from burnish.engine.predict import predict_rows
from burnish.engine.rows import EncodedRows
from burnish.engine.segments import own_attention
from burnish.errors import DataProblemError, DataReadError, RunError
from burnish.evaluation.forgetting import ProbeScore, gate_of, judge_forgetting
from burnish.evaluation.gates import with_gate
from burnish.evaluation.probes import NO_PROBES, SHIPPED, Probe, read_probes
from burnish.evaluation.wording import signed
from burnish.lifecycle.encode import encode_or_refuse, required
from burnish.lifecycle.follow import follows
from burnish.recipe.schema import Recipe
from burnish.storage.fingerprint import file_sha256
from burnish.storage.run_folder import RunFolder
from burnish.task.chat import Chat
from burnish.task.continuation import encode_continuation
from burnish.task.mask import Masker
from burnish.types import Encoded, Example, Task


@dataclass(slots=True)
class ProbeRows:
    """Probes as a model reads them, one row for each continuation, and what the base makes of them.

    Attributes:
        task: whose loss of a row is that of its continuation.
        base: the base's scores; empty until they are measured.
    """

    probes: list[Probe]
    rows: EncodedRows
    task: Chat
    base: list[ProbeScore] = field(default_factory=list)

    def scores(self, model: Any, *, precision: Precision, device: Any) -> list[ProbeScore]:
        """What a model in evaluation mode makes of each probe; padded, so that base and tuned are asked alike."""
        layout = LayoutChoice(True, position_offset(model.encoder.config), "")
        with own_attention(model):
            found = predict_rows(self.task, model, self.rows, layout=layout, precision=precision, device=device)
        losses = iter(float(row["loss"]) for row in found)
        scores = []
        for probe in self.probes:
            own = [next(losses) for _ in probe.continuations]
            likeliest = min(range(len(own)), key=own.__getitem__)
            scores.append(ProbeScore(own[probe.answer], likeliest == probe.answer if probe.is_choice else None))
        return scores


def probe_rows(recipe: Recipe, masker: Masker, context: int) -> ProbeRows | None:
    """The probes of a recipe, None when it asks for none or the base reads too little for any of them.

    Shipped probes that are longer than what the base reads are left out; one of the user's is an error.

    Raises:
        DataReadError: the codes of `read_probes`; [probes/too-long], [probes/bad-row].
    """
    places = recipe.evaluation.forgetting.places
    if not places or NO_PROBES in places:
        return None
    probes = read_probes(places)
    tokenizer, tokens = masker.tokenizer, masker.template.tokens
    begin = tokenizer.token_to_id(tokens.get("bos_token", ""))
    rows: list[Encoded] = []
    asked = []
    for probe in probes:
        own = [encode_continuation(tokenizer, begin, probe.prompt, text) for text in probe.continuations]
        if probe.origin.file == SHIPPED and any(row.length > context or not row.weight for row in own):
            continue
        for row in own:
            if row.length > context or not row.weight:
                said = f"has {row.length:,} tokens, {context:,} are read" if row.weight else "is a single token"
                raise DataReadError(
                    "probes/too-long" if row.weight else "probes/bad-row",
                    f"the probe {said}",
                    where=str(probe.origin),
                    hint="shorten it" if row.weight else "put a prompt before it",
                )
        asked.append(probe)
        rows += own
    return ProbeRows(asked, EncodedRows.of(rows), Chat(masker, max_length=context)) if asked else None


def with_forgetting(
    evaluation: Mapping[str, Any], probes: ProbeRows, tuned: Sequence[ProbeScore], recipe: Recipe, vocabulary: int
) -> dict[str, Any]:
    """evaluation.json's content with what the tuned model forgot, and the gate that judges it."""
    found = judge_forgetting(
        probes.probes,
        probes.base,
        tuned,
        tolerance=recipe.evaluation.forgetting.tolerance,
        vocabulary=vocabulary,
        resamples=recipe.evaluation.resamples,
        seed=recipe.training.seed,
    )
    verdict = evaluation["verdict"]
    gain = f"the gain on the test rows is {signed(verdict['metric'], verdict['difference'])} ({verdict['metric']})"
    return with_gate({**evaluation, "forgetting": found}, gate_of(found, gain))


def kept_rows(recipe: Recipe, task: Task, folder: RunFolder) -> Sequence[Any]:
    """The rows of what must not be forgotten, encoded; none when the recipe names no file.

    Raises:
        DataReadError: the codes of `inspect_source`.
        DataProblemError: [keep/no-rows] when the file holds nothing that a chat is learned from.
        UsageError: with the code of the refusal, at a row that cannot be learned from.
        RunError: [run/data-changed] when the file is not the one the run began with.
    """
    name = recipe.training.keep_ability.rows
    if name is None:
        return ()
    examples = _examples(Path(name))
    if not examples:
        raise DataProblemError(
            "keep/no-rows",
            "holds no conversations or texts that could be learned again",
            where=name,
            hint='write one row per text: {"text": ...}, or per conversation: {"messages": [...]}',
        )
    facts = {"file": name, "rows": len(examples), "sha256": file_sha256(Path(name))}
    if folder.manifest().get("kept_rows", facts) != facts:
        raise RunError(
            "run/data-changed",
            "the rows that must not be forgotten are others than when this run started",
            where=name,
            hint="put the old file back to go on, or start a new run",
        )
    if "kept_rows" not in folder.manifest() and not follows():  # the first of several processes writes
        folder.update_manifest(kept_rows=facts)
    found = encode_or_refuse(task, examples)
    return EncodedRows.of([required(row, example) for row, example in zip(found, examples, strict=True)])


def _examples(path: Path) -> list[Example]:
    options = DataOptions(train=str(path))
    shape = inspect_source(path, options)
    found = detect_format(shape.columns, shape.sample, tasks=("chat", "language-modelling"))
    if found is None:
        return []
    return [item for item in found.examples(read_source(path, shape, options)) if isinstance(item, Example)]
