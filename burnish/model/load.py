"""A base model that was found, and how it comes into memory: by transformers or by burnish's own, never run as code."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import ModelError
from burnish.model.adapters import with_adapter
from burnish.model.images import FAMILIES
from burnish.model.intake import excerpt_of
from burnish.model.libraries import open_transformers
from burnish.storage.fingerprint import canonical_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch.nn import Module

# While it loads, transformers has changed its classes and imports parts of itself as it needs them: of two threads at
# once one would leave the classes so, or get half of a part.
LOADING = threading.RLock()
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")  # and *.model
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


def count_weights(base: Base) -> int:
    """Weights of a base that has none yet."""
    import torch

    with torch.device("meta"):  # shapes without numbers
        return sum(weight.numel() for weight in _drawn(base, head=base.generates or base.has_decoder).parameters())


def _unloadable(base: Base, reason: str) -> ModelError:
    shown = reason.splitlines()[0][:200]
    return ModelError("model/unloadable", f"transformers cannot load this base: {shown}", where=str(base.folder))
