"""The exports that a recipe asks for, tried before the first step: one that fails behind hours of training is late.

What is tried is not the base itself but two layers of its architecture, with weights by chance and the base's own
tokenizer and template. That finds a family, a tokenizer, a template or a package that does not do; it proves nothing
of the trained weights, which is done behind the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from burnish.errors import UsageError
from burnish.lifecycle.export_made import made
from burnish.lifecycle.export_subject import opened
from burnish.lifecycle.export_wish import Wish, require_license
from burnish.lifecycle.workbench import Workbench
from burnish.method.build import build_method
from burnish.model.find import find_base
from burnish.model.language import LanguageModel, load_language_model
from burnish.model.load import Base, load_encoder
from burnish.model.options import ModelOptions
from burnish.model.pooled import PooledClassifier, PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.serving.adapter_files import MERGED
from burnish.serving.embedding_package import save_sentence_encoder
from burnish.serving.exports.kinds import require_form
from burnish.serving.image_package import save_image_package
from burnish.serving.language_package import save_language_model
from burnish.serving.options import Kind
from burnish.serving.package import save_package
from burnish.serving.seq2seq_package import save_seq2seq
from burnish.storage.durable import copy_file, make_folder
from burnish.storage.tensors import save_plain_model
from burnish.types import Example, Split

LAYERS = 2
_SETTINGS = (".json", ".txt", ".model", ".jinja")  # of a tokenizer, a template, a pooling
ROWS = 3  # of validation: the test stays sealed
_DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers", "num_decoder_layers")


def require_exports(recipe: Recipe, task: str, base: Base, *, own: bool) -> None:
    """Stops a recipe whose exports its task, method, license or installed packages do not allow.

    Raises:
        LicenseError, UsageError: as `export`; [export/own-parts] for a run with parts of the caller's own.
    """
    method = recipe.method.name if recipe.method else "full"
    for kind in recipe.export.to:
        require_form(kind, task, method, where="export.to")
    license_ = {"name": base.license, "written_in": base.license_source, "use": recipe.model.use}
    require_license({"license": license_, "base": {"name": base.name}}, None)
    if own:
        raise UsageError(
            "export/own-parts",
            "a run with parts of your own is no model that other programs know",
            where="export.to",
            hint="leave the section export out",
        )


def rehearse_exports(bench: Workbench) -> str:
    """Tries each export on a small model of the base's architecture; a sentence about it.

    Raises:
        BurnishError: what the export would raise behind the training.
    """
    kinds, task = bench.recipe.export.to, str(bench.task.name)
    if task == "tabular":
        return "exports: not tried, a table has no base to try them on"
    bench.progress.stage(f"trying to export to {', '.join(kinds)}")
    examples = list(bench.data.splits[Split.VALIDATION])[:ROWS]
    state = torch.get_rng_state()
    with TemporaryDirectory(prefix=".tmp-export-", dir=bench.folder.path) as name:
        place = Path(name)
        final = place / "final"
        _save(bench, place / "base", final)
        for kind in kinds:
            _tried(final, place, kind, task, examples, bench)
    torch.set_rng_state(state)
    return f"exports to {', '.join(kinds)} were tried on {LAYERS} layers of this architecture with random weights"


def _tried(final: Path, place: Path, kind: Kind, task: str, examples: Sequence[Example], bench: Workbench) -> None:
    subject = opened(final, place, task, examples)
    made(subject, Wish(kind, None, ROWS), place / kind, license_={}, progress=bench.progress)


def _save(bench: Workbench, folder: Path, final: Path) -> None:
    """The small model, saved as the tuned one will be."""
    recipe, base, task = bench.recipe, bench.base, bench.task
    assert recipe.method is not None
    method = recipe.method.name
    if task.name == "image-classification":  # image models are small, and made whole when they are saved
        model = task.build(load_encoder(base), width=base.width, pooling=base.pooling, normalize=base.normalize)
        described = {"task": task.name, "method": "full", **task.describe()}
        save_image_package(final, model, base=base, described=described)
        return
    small = _small_base(base, folder)
    model = _small_model(bench, small)
    if method in (*MERGED, "prompt-tuning"):
        build_method(recipe.method).attach(model)
    if isinstance(model, PooledClassifier):
        save_package(final, model, base=small, described={"task": task.name, "method": method, **task.describe()})
    elif isinstance(model, PooledEncoder):
        described = {"task": task.name, "method": method, **task.describe()}
        save_sentence_encoder(final, model, base=small, described=described)
    elif base.has_decoder:
        limits = {"max_length": task.max_length, "max_target_length": task.max_target_length}
        save_seq2seq(final, model, base=small, task=task.name, method=method, **limits)
    else:
        ends: Sequence[int] = bench.ends  # type: ignore[attr-defined]  # of every bench that writes turns
        template = task.masker.template
        save_language_model(final, model, base=small, template=template, ends=ends, task=task.name, method=method)


def _small_base(base: Base, folder: Path) -> Base:
    """Few layers of a base's architecture with weights by chance, beside everything else of its folder."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
    for depth in _DEPTHS:
        if isinstance(getattr(config, depth, None), int):
            setattr(config, depth, min(LAYERS, getattr(config, depth)))
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types)[:LAYERS]
    writes = AutoModelForSeq2SeqLM if base.has_decoder else AutoModelForCausalLM
    kind: Any = writes if base.has_decoder or base.generates else AutoModel
    for path in sorted(base.folder.rglob("*")):
        if path.suffix in _SETTINGS and path.is_file() and not path.name.endswith(".index.json"):
            make_folder((folder / path.relative_to(base.folder)).parent)
            copy_file(path, folder / path.relative_to(base.folder))
    save_plain_model(folder, kind.from_config(config, dtype="float32"))
    found = find_base(ModelOptions(base=str(folder), max_length=None), recipe_folder=Path(), runs=folder)
    return replace(
        found, max_length=base.max_length, context=base.context, quantization=base.quantization, license=base.license
    )


def _small_model(bench: Workbench, small: Base) -> Any:
    """The task's model over the small base."""
    if isinstance(bench.model, LanguageModel):
        return load_language_model(small)
    encoder = load_encoder(small)
    if isinstance(bench.model, PooledClassifier):
        options: dict[str, Any] = {"width": small.width, "pooling": small.pooling, "normalize": small.normalize}
        return bench.task.build(encoder, **options)
    return PooledEncoder(encoder, pooling=small.pooling, normalize=small.normalize)
