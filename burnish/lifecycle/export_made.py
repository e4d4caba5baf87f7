"""An export is made: written, opened in its own program, compared, and published only when the proof holds."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.errors import DiskFullError, ExportError, UsageError
from burnish.evaluation.compare import paired_gain
from burnish.evaluation.metrics.resampling import measured
from burnish.lifecycle.export_proof import (
    Compared,
    TrainedReader,
    TrainedTable,
    TrainedWriter,
    per_row,
)
from burnish.lifecycle.export_subject import Subject
from burnish.lifecycle.export_wish import Wish
from burnish.model.load import Base
from burnish.serving.exports.folder import size_bytes, write_notice
from burnish.serving.exports.plain import PlainReader, PlainWriter, write_adapter_folder, write_merged, write_vllm
from burnish.serving.exports.proof import ROUNDING_F16, ROUNDING_F32, SHOWN
from burnish.serving.exports.source import Source, describe, open_source
from burnish.serving.options import Kind
from burnish.serving.package import base_of
from burnish.storage.durable import TEMPORARY, make_folder, published_folder, require_space, write_json
from burnish.types import Progress

REPORT = "export.json"
ROUNDING_Q8 = 1.0  # nats; weights of eight bits are judged by the metric
_RUNTIMES = {"onnx": "onnxruntime", "gguf": "xllamacpp", "ollama": "xllamacpp", "adapter": "peft"}


def made(
    subject: Subject, wish: Wish, target: Path, *, license_: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """Writes, opens and compares an export; it is published only when the proof holds.

    Raises:
        ExportError: [export/not-equal]; [export/metric-fell].
    """
    description = describe(subject.final)
    make_folder(target.parent)
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
