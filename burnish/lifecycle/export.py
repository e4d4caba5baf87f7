"""`burnish export`: a tuned model in the form another program opens, proven to answer as the trained model does.

license -> form -> rows -> what the trained model says -> write -> open in its own program -> compare -> publish

A folder appears only when the proof held; otherwise nothing of it remains.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, DiskFullError, ExportError, RunError, UsageError, nearest
from burnish.evaluation.answered import metrics_of
from burnish.evaluation.compare import paired_gain
from burnish.evaluation.metrics.resampling import measured
from burnish.lifecycle.embedding_rows import all_texts, trial_of
from burnish.lifecycle.export_proof import (
    NEW_TOKENS,
    Compared,
    TrainedReader,
    TrainedTable,
    TrainedWriter,
    per_row,
    searched,
    spread,
)
from burnish.lifecycle.judge_seq2seq import questions
from burnish.lifecycle.own import Own
from burnish.lifecycle.resolve import answer_text
from burnish.lifecycle.run import Run
from burnish.lifecycle.runs import load
from burnish.lifecycle.train import read_rows, refuse_changed_data
from burnish.model.license import require_named_use
from burnish.model.license_terms import TERMS, Use
from burnish.model.load import Base
from burnish.recipe.read import read_recipe
from burnish.serving.exports.folder import size_bytes, write_notice
from burnish.serving.exports.kinds import CHATS, require_form
from burnish.serving.exports.plain import PlainReader, PlainWriter, write_adapter_folder, write_merged, write_vllm
from burnish.serving.exports.proof import ROUNDING_F16, ROUNDING_F32, SHOWN
from burnish.serving.exports.source import Source, describe, open_source, writes
from burnish.serving.options import KINDS, QUANTIZES, Kind, Quantize
from burnish.serving.package import base_of
from burnish.storage.durable import TEMPORARY, published_folder, require_space, write_json
from burnish.storage.run_folder import RunFolder
from burnish.storage.version_store import VERSION_ID
from burnish.task.embedding import texts_of
from burnish.types import Example, Metric, Progress, Row, Silent, Split

REPORT = "export.json"
ROWS = 100
MORE_ROWS = 2_000  # where weights are rounded to eight bits: what is to be seen is the metric
ROUNDING_Q8 = 1.0  # nats; weights of eight bits are judged by the metric
_RUNTIMES = {"onnx": "onnxruntime", "gguf": "xllamacpp", "ollama": "xllamacpp", "adapter": "peft"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be exported, and how.

    Attributes:
        rows: that are compared, at most.
    """

    kind: Kind
    quantize: Quantize | None
    rows: int

    @property
    def name(self) -> str:
        return self.kind if self.quantize is None else f"{self.kind}-{self.quantize}"


def export(
    run: str | Path,
    to: str,
    *,
    output: str | Path | None = None,
    quantize: str | None = None,
    rows: int | None = None,
    use: Use | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the model of a run in another form, and keeps it only when it answers as the trained model does.

    >>> burnish.export("runs/tickets", to="onnx")["agreement"]["largest_difference"]   # doctest: +SKIP
    1.9e-06

    Args:
        run: id, unique beginning of an id, or folder.
        to: merged, adapter, onnx, gguf, ollama or vllm.
        output: a folder that does not exist yet; exports/<form> in the run when None.
        quantize: int8 (onnx) or q8_0 (gguf, ollama): kept only while the metric stays within the trained model's
            interval.
        rows: of the test, that are compared at most; 100, and 2,000 with `quantize` where no text is written.
        use: what the export is for, which the license of the base has to allow: commercial, research, redistribution;
            the recipe's `model.use` when None.

    Returns:
        What export.json in the folder says: {"kind", "folder", "runtime", "agreement", "metric", "bytes",
        "seconds_per_row", ...}.

    Raises:
        LicenseError: [license/forbids-use], [license/unknown], before anything is read.
        UsageError: [export/unknown-form], [export/no-such-form], [export/not-quantized], [export/not-installed],
            [export/exists], [export/no-metric].
        RunError: [run/not-finished], [run/not-judged], [run/own-parts], [run/data-changed], [run/is-a-version] for a
            stored version without `output`.
        ExportError: [export/not-equal] with the rows that differ; [export/metric-fell].
    """
    progress = progress or Silent()
    loaded = load(run)
    wish = _wish(to, quantize, rows)
    require_exportable(loaded, wish, use)
    if output is None and _is_version(loaded):
        raise RunError(
            "run/is-a-version",
            "this is a stored version, which never changes",
            where=str(loaded.path),
            hint="name a folder for the export: --output DIR",
        )
    target = Path(output) if output is not None else loaded.folder.exports / wish.name
    if target.exists():
        raise UsageError(
            "export/exists",
            "there is something here already",
            where=str(target),
            hint="delete it, or name another folder with --output",
        )
    return export_finished(loaded, wish, target, progress=progress)


def export_finished(loaded: Run, wish: Wish, target: Path, *, progress: Progress) -> dict[str, Any]:
    """The export of a run that was judged; what became of it is written on the run, not on a stored version."""
    folder, kept = loaded.folder, not _is_version(loaded)
    subject = _subject(loaded, wish, progress)
    try:
        found = made(subject, wish, target, license_=folder.manifest().get("license", {}), progress=progress)
    except BurnishError as error:
        if kept:
            folder.event("export-failed", kind=wish.name, code=error.code)
        raise
    if not kept:
        return found
    known = folder.manifest().get("exports", {})
    folder.update_manifest(exports={**known, wish.name: {key: found[key] for key in _REMEMBERED}})
    folder.event("exported", kind=wish.name, folder=found["folder"])
    return found


def _is_version(loaded: Run) -> bool:
    """Whether it is a model version of the registry, whose folder is called by its content."""
    return VERSION_ID.fullmatch(loaded.path.resolve().name) is not None


_REMEMBERED = ("folder", "created", "answer", "agreement", "metric", "bytes", "seconds_per_row", "runtime")


def _wish(to: str, quantize: str | None, rows: int | None) -> Wish:
    """What was asked for.

    Raises:
        UsageError: [export/unknown-form]; [export/not-quantized]; [export/rows].
    """
    kind = next((each for each in KINDS if each == to), None)
    if kind is None:
        close = nearest(to, KINDS)
        raise UsageError(
            "export/unknown-form",
            f'"{to}" is no form that burnish exports to',
            where="--to",
            known=KINDS,
            hint=f'did you mean "{close}"?' if close else None,
        )
    numbers = next((each for each in QUANTIZES if each == quantize), None)
    if quantize is not None and numbers is None:
        raise UsageError(
            "export/not-quantized", f'"{quantize}" is no kind of weights', where="--quantize", known=QUANTIZES
        )
    if rows is not None and rows < 1:
        raise UsageError("export/rows", f"{rows} rows prove nothing", where="--rows", hint="write a number from 1 on")
    return Wish(kind, numbers, rows or (MORE_ROWS if quantize == "int8" else ROWS))


def require_exportable(loaded: Run, wish: Wish, use: Use | None) -> None:
    """Stops what may not or cannot be exported, before anything is opened.

    Raises:
        LicenseError, UsageError, RunError: as `export`.
    """
    manifest = loaded.folder.manifest()
    require_license(manifest, use)
    task, method = str(manifest.get("task", "")), str(manifest.get("method", ""))
    require_form(wish.kind, task, method, wish.quantize)
    if parts := manifest.get("parts_of_the_caller"):
        raise RunError(
            "run/own-parts",
            f"this run was made with your own {', '.join(sorted(parts))}, which no other program knows",
            where=str(loaded.path),
        )
    loaded.require_model()
    if wish.quantize is not None and loaded.evaluation["metric"] in _OF_NO_ANSWERS:
        raise UsageError(
            "export/no-metric",
            f"weights in {wish.quantize} are kept while the metric holds; {loaded.evaluation['metric']} is not one of "
            "answers",
            where="--quantize",
            hint="leave it out",
        )


_OF_NO_ANSWERS = ("loss", "reward-accuracy", "reward-margin")


def require_license(manifest: Mapping[str, Any], use: Use | None) -> None:
    """Stops an export that the license of the base forbids.

    Without a stated use a license that is known to forbid redistribution stops it: a file in another form is made to
    be given away, unless it is said that it is not.

    Raises:
        LicenseError: [license/forbids-use] naming the clause; [license/unknown] for a stated use.
    """
    license_, base = manifest.get("license", {}), manifest.get("base", {})
    stated: Use | None = use or license_.get("use")
    terms = TERMS.get(str(license_.get("name") or "").lower())
    if stated is None and terms is not None and not terms.allows("redistribution"):
        stated = "redistribution"
    name = str(base.get("name", "the base"))
    if stated is not None:
        require_named_use(name, license_.get("name"), license_.get("written_in"), stated)


@dataclass(slots=True)
class Subject:
    """A tuned model with what it says of the rows that are compared.

    Attributes:
        trained: the model, by the family of its task.
        metric: of the answers, with what is right; None where answers are not measured.
        examples: the rows, for an error that names them.
        of_answers: what the metric compares of the answers, where it is not the answers themselves.
    """

    final: Path
    runs: Path
    trained: TrainedReader | TrainedTable | TrainedWriter
    examples: Sequence[Example]
    metric: Metric | None = None
    references: Sequence[Any] = ()
    of_answers: Callable[[Sequence[Any]], Sequence[Any]] = list
    resamples: int = 1_000
    seed: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def _subject(loaded: Run, wish: Wish, progress: Progress) -> Subject:
    """The model of a judged run, on rows of its test."""
    recipe, _, prepared = read_rows(read_recipe(loaded.folder.recipe), Own())
    refuse_changed_data(loaded.folder, prepared)
    examples = spread(prepared.splits[Split.TEST], wish.rows)
    evaluation = loaded.evaluation
    task, name = str(evaluation["task"]), str(evaluation["metric"])
    progress.stage(f"what the trained model says of {len(examples):,} test rows")
    subject = opened(loaded.folder.final, loaded.runs, task, examples, evaluation)
    subject.resamples, subject.seed = recipe.evaluation.resamples, recipe.training.seed
    if name not in _OF_NO_ANSWERS:
        labels, positive = list(evaluation.get("labels", ())), recipe.table.positive or ""
        (subject.metric,) = metrics_of(task, [name], labels, positive)
        if task == "embedding":
            splits = {Split.TRAIN: prepared.splits[Split.TRAIN][: wish.rows], Split.TEST: examples}
            trial = trial_of(splits, Split.TEST)
            texts = [Example({"text": text}, examples[0].origin) for text in all_texts(trial)]
            subject.trained = TrainedReader(loaded.folder.final, loaded.runs, [each.row for each in texts])
            subject.references = trial.references
            subject.of_answers = lambda vectors: searched(trial, vectors)
        else:
            subject.references = _references(task, subject, examples)
    subject.about = {"run": loaded.id, "of_rows": len(prepared.splits[Split.TEST]), "split": Split.TEST.value}
    return subject


def opened(
    final: Path, runs: Path, task: str, examples: Sequence[Example], evaluation: Mapping[str, Any] | None = None
) -> Subject:
    """A tuned model and what it says of some rows.

    Args:
        evaluation: of the run, which says how long answers may be.
    """
    rows: list[Row] = [example.row for example in examples]
    trained: TrainedReader | TrainedTable | TrainedWriter
    if task == "tabular":
        describe(final)
        trained = TrainedTable(final, rows)
    elif writes(task):
        if task == "seq2seq":
            asked = questions(examples)
            examples = [question.example for question in asked]
            rows = [{"source": question.source} for question in asked]
        most = int(((evaluation or {}).get("diagnostics") or {}).get("max_new_tokens") or NEW_TOKENS)
        trained = TrainedWriter(final, runs, rows, task, most)
    else:
        if task == "embedding":
            rows = [{"text": text} for row in rows for text in texts_of(row)]
        trained = TrainedReader(final, runs, rows)
    return Subject(final, runs, trained, examples)


def _references(task: str, subject: Subject, examples: Sequence[Example]) -> list[Any]:
    if task == "tabular":
        return [example.row["target"] for example in examples]
    if task == "seq2seq":
        return [question.targets for question in questions(examples)]
    if task in CHATS:
        return [answer_text(example.row) for example in examples]
    assert isinstance(subject.trained, TrainedReader)
    return [subject.trained.predictor.task.reference(example.row) for example in examples]


def made(
    subject: Subject, wish: Wish, target: Path, *, license_: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """Writes, opens and compares an export; it is published only when the proof holds.

    Raises:
        ExportError: [export/not-equal]; [export/metric-fell].
    """
    description = describe(subject.final)
    with published_folder(target) as folder:
        progress.stage(f"writing {wish.name}")
        base, further = _written(folder, subject, description, wish, name=target.name)
        progress.stage(f"opening {wish.name} in its own program")
        compared = _compared(folder, subject, description, wish, base)
        found = {
            "format": 1,
            "kind": wish.kind,
            "quantize": wish.quantize,
            **subject.about,
            "task": description["task"],
            "method": description.get("method", "full"),
            "folder": str(target),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "runtime": _runtime(wish.kind),
            "not_run": _NOT_RUN.get(wish.kind),
            "agreement": compared.agreement.as_dict(),
            "agreement_of_whole_weights": compared.whole and compared.whole.as_dict(),
            "metric": _metric(subject, compared),
            "seconds_per_row": per_row(compared),
            **further,
        }
        found["answer"] = _answer(found, subject, compared, wish)
        known_as = str((description.get("base") or {}).get("name", "random weights"))
        found["obligations"] = write_notice(folder, license_, base, name=known_as)
        found["bytes"] = size_bytes(folder)
        write_json(folder / REPORT, found)
    return found


_NOT_RUN = {
    "vllm": "vLLM itself was not run: the folder was opened by transformers, and its format checked",
    "ollama": "Ollama itself was not run: model.gguf was opened by llama.cpp; the Modelfile was written by rule",
}


def _written(
    folder: Path, subject: Subject, description: Mapping[str, Any], wish: Wish, *, name: str
) -> tuple[Base | None, dict[str, Any]]:
    """Writes the export; gives the base and what else is to be said of it."""
    if wish.kind == "adapter":
        base = base_of(subject.final, description, subject.runs)
        if base.under is None:
            raise UsageError(
                "export/no-such-form",
                "what this run learned was merged into its model when it was saved: there is no adapter",
                where="--to",
                hint="write `merged`",
            )
        write_adapter_folder(folder, subject.final, description, name=name)
        return base, {"base": base.under.name}
    source = open_source(subject.final, runs=subject.runs)
    if source.task != "tabular":
        _require_room(folder, source)
    return source.base, _of_kind(folder, source, wish, name)


def _of_kind(folder: Path, source: Source, wish: Wish, name: str) -> dict[str, Any]:
    if wish.kind == "merged":
        write_merged(folder, source, name=name)
    elif wish.kind == "vllm":
        write_vllm(folder, source, name=name)
    elif wish.kind == "onnx":
        from burnish.serving.exports.onnx import quantize_int8, write_onnx

        write_onnx(folder, source, name=name)
        if wish.quantize:
            quantize_int8(folder)
    else:
        return _gguf(folder, source, wish, name)
    return {}


def _gguf(folder: Path, source: Source, wish: Wish, name: str) -> dict[str, Any]:
    from burnish.model.load import load_tokenizer
    from burnish.serving.exports.gguf import write_gguf
    from burnish.serving.exports.ollama import translated, write_modelfile
    from burnish.serving.language_package import packaged_template

    if wish.kind == "ollama":
        template = packaged_template(source.final, source.description)
        translated(template)  # refuses before the weights are written
        tokenizer = load_tokenizer(source.final)
        stops = [str(tokenizer.id_to_token(end)) for end in source.description["ends"]]
        write_modelfile(folder, template, stops=stops, context=int(source.description["max_length"]))
    return write_gguf(folder, source, name=name, quantize=wish.quantize)


def _require_room(folder: Path, source: Source) -> None:
    """Raises DiskFullError [storage/disk-too-small] when the disk cannot hold the weights."""
    size = sum(weight.numel() * 4 for weight in source.core.parameters())
    try:
        require_space(folder, size)
    except DiskFullError as error:
        error.hint = "free some space, or name a folder on another disk with --output"
        raise


def _compared(
    folder: Path, subject: Subject, description: Mapping[str, Any], wish: Wish, base: Base | None
) -> Compared:
    """The export in its own program, on the same rows."""
    trained = subject.trained
    if isinstance(trained, TrainedWriter):
        if wish.kind in ("gguf", "ollama"):
            return _proven_in_llama(folder, subject, trained, wish)
        under = _beside(base) if wish.kind == "adapter" else None
        return trained.compared(PlainWriter(folder, under, two_stacks=trained.task == "seq2seq"))
    if wish.kind == "onnx":
        from burnish.serving.exports.onnx import OnnxReader

        reader = OnnxReader(folder, description)
        return (
            trained.compared(reader.numbers_of_table) if isinstance(trained, TrainedTable) else trained.compared(reader)
        )
    assert isinstance(trained, TrainedReader)
    return trained.compared(PlainReader(folder, description, _beside(base) if wish.kind == "adapter" else None))


def _beside(base: Base | None) -> Base | None:
    """The plain base an adapter lies on, in the numbers it was trained beside."""
    if base is None or base.under is None:
        return None
    return dataclasses.replace(base.under, quantization=base.quantization)


def _proven_in_llama(folder: Path, subject: Subject, trained: TrainedWriter, wish: Wish) -> Compared:
    """The file in llama.cpp; where its rounded weights answer otherwise, the same file with whole ones too.

    So what rounding does is told apart from what a wrong tensor, position or template would do.
    """
    compared = _in_llama(folder, trained, wish)
    if compared.agreement.equal and wish.quantize is None:
        return compared
    from burnish.serving.exports.gguf import WHOLE, write_gguf

    with tempfile.TemporaryDirectory(dir=folder, prefix=TEMPORARY) as whole:
        source = open_source(subject.final, runs=subject.runs)
        _require_room(folder, source)
        write_gguf(Path(whole), source, name="whole", quantize=WHOLE)
        return dataclasses.replace(compared, whole=_in_llama(Path(whole), trained, wish, ROUNDING_F32).agreement)


def _in_llama(folder: Path, trained: TrainedWriter, wish: Wish, tolerance: float | None = None) -> Compared:
    import torch

    from burnish.serving.exports.gguf import FILE
    from burnish.serving.exports.gguf_vocabulary import AWKWARD
    from burnish.serving.exports.llama_cpp import LlamaCpp

    llama = LlamaCpp(folder / FILE, context=trained.context, threads=torch.get_num_threads())
    for text in AWKWARD:
        own = trained.tokenizer.encode(text, add_special_tokens=False).ids
        if llama.tokens(text) != own:
            raise ExportError(
                "export/not-equal",
                f"llama.cpp cuts a text into other tokens than the training did: {text[:40]!r}",
                where=wish.name,
                hint="export it as `merged` or `vllm`, which keep the tokenizer as it is",
            )
    rounding = ROUNDING_Q8 if wish.quantize else ROUNDING_F16
    return trained.compared_in_llama(llama, tolerance=tolerance or rounding)


def _metric(subject: Subject, compared: Compared) -> dict[str, Any] | None:
    """The task's metric of both on the same rows, with its interval and that of the difference."""
    metric = subject.metric
    if metric is None:
        return None
    before, after = subject.of_answers(compared.before), subject.of_answers(compared.after)
    gain = paired_gain(metric, subject.references, after, before, resamples=subject.resamples, seed=subject.seed)
    return {
        "name": metric.name,
        "higher_is_better": metric.higher_is_better,
        "before": measured(metric, subject.references, before).as_dict(),
        "after": measured(metric, subject.references, after).as_dict(),
        "gain": {"value": gain.value, "low": gain.low, "high": gain.high, "n": gain.n},
    }


def _answer(found: Mapping[str, Any], subject: Subject, compared: Compared, wish: Wish) -> str:
    """ "equal"; of rounded weights that are shown to be all that differs "within the interval", or just "rounded" where
    no metric is measured.

    Raises:
        ExportError: [export/not-equal]; [export/metric-fell].
    """
    agreed, metric = compared.whole or compared.agreement, found["metric"]
    rounded = wish.quantize is not None or agreed is not compared.agreement
    if rounded and metric is not None and (compared.whole is None or agreed.equal):
        _require_metric(metric, wish)
        return "within the interval"
    if agreed.equal:
        return "rounded" if rounded else "equal"
    raise ExportError(
        "export/not-equal",
        f"{len(agreed.differing):,} of {agreed.rows:,} rows differ from the trained model: by up to "
        f"{agreed.largest:.3g} {agreed.unit}, {agreed.tolerance:.3g} is the rounding of its numbers",
        where=wish.name,
        details=[_row(subject, row) for row in agreed.differing[:SHOWN]],
        hint="nothing was kept; export it in another form, or report it",
    )


def _require_metric(metric: Mapping[str, Any], wish: Wish) -> None:
    """Raises ExportError [export/metric-fell] when it left the trained model's interval, or had nothing to lose."""
    before, after, higher = metric["before"], metric["after"]["value"], metric["higher_is_better"]
    edge = before["low"] if higher else before["high"]
    if wish.quantize is not None and higher and before["value"] == 0:
        raise ExportError(
            "export/metric-fell",
            f"{metric['name']} of the trained model is 0 on {before['n']:,} rows: nothing shows what is lost",
            where=wish.name,
            hint="export it without --quantize",
        )
    if edge is None or (after < edge if higher else after > edge):
        raise ExportError(
            "export/metric-fell",
            f"{metric['name']} is {after:.4f} with weights in {wish.quantize or 'float16'}, and was "
            f"{before['value']:.4f} ({_span(before)}) on the same {before['n']:,} rows",
            where=wish.name,
            hint="export it without --quantize" if wish.quantize else "export it as `merged` or `vllm`",
        )


def _span(value: Mapping[str, Any]) -> str:
    return "no interval" if value["low"] is None else f"{value['low']:.4f} to {value['high']:.4f}"


def _row(subject: Subject, row: int) -> str:
    return str(subject.examples[row].origin) if row < len(subject.examples) else f"text {row + 1}"


def _runtime(kind: Kind) -> str:
    """Name and version of the program that opened the export."""
    name = _RUNTIMES.get(kind, "transformers")
    return f"{name} {importlib.metadata.version(name)}"


def export_all(folder: RunFolder, kinds: Sequence[Kind], *, rows: int, runs: Path, progress: Progress) -> None:
    """The exports that a recipe asks for, behind the verdict; one that fails leaves its reason and not a failed run."""
    loaded = Run(folder, runs)
    for kind in kinds:
        target = folder.exports / kind
        if target.exists():
            continue
        try:
            wish = Wish(kind, None, rows)
            require_exportable(loaded, wish, None)
            found = export_finished(loaded, wish, target, progress=progress)
            progress.note(f"exported {kind}: {found['answer']}, {found['folder']}")
        except BurnishError as error:
            failed = {"error": {"code": error.code, "message": str(error)[:500]}}
            folder.update_manifest(exports={**folder.manifest().get("exports", {}), kind: failed})
            progress.warn(f"not exported to {kind}: {error}")
