"""`burnish export`: a tuned model in the form another program opens, proven to answer as the trained model does.

license -> form -> rows -> what the trained model says -> write -> open in its own program -> compare -> publish

A folder appears only when the proof held; otherwise nothing of it remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, RunError, UsageError
from burnish.lifecycle.export_made import made
from burnish.lifecycle.export_subject import subject_of
from burnish.lifecycle.export_wish import Wish, require_exportable, wish_of
from burnish.lifecycle.run import Run
from burnish.lifecycle.runs import load
from burnish.model.license_terms import Use
from burnish.serving.options import Kind
from burnish.storage.run_folder import RunFolder
from burnish.storage.version_store import VERSION_ID
from burnish.types import Progress, Silent

_REMEMBERED = ("folder", "created", "answer", "agreement", "metric", "bytes", "seconds_per_row", "runtime")


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
    wish = wish_of(to, quantize, rows)
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
    subject = subject_of(loaded, wish, progress)
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
