"""Exports that transformers (and peft) open as they are: the whole model, or the adapter beside a named base.

merged    config.json and model.safetensors of the plain architecture, what was learned multiplied in
adapter   peft's files; the base is named in them
vllm      as merged, with the template as a file and the tokens that end a turn in generation_config.json
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.data.images import read_image
from burnish.errors import UsageError
from burnish.model.load import Base
from burnish.model.template import TEMPLATE_FILE
from burnish.serving.exports.folder import copy_beside, write_use
from burnish.serving.exports.graph import ImageGraph, TextGraph
from burnish.serving.exports.reading import Array, Read, numbers_of, plain_read
from burnish.serving.exports.source import HEAD, Source, pad_of, takes_types
from burnish.serving.language_package import answer_without_burnish, packaged_template
from burnish.serving.package import DESCRIPTION
from burnish.serving.seq2seq_package import write_without_burnish
from burnish.serving.use import use_without_burnish
from burnish.storage.durable import write_json, write_text
from burnish.storage.tensors import load_tensors, save_plain_model
from burnish.types import Row

GENERATION = "generation_config.json"


def write_merged(folder: Path, source: Source, *, name: str) -> None:
    """Writes the whole model as transformers opens it, in the float32 of the training.

    Args:
        name: of the folder, for USE.md.
    """
    description = {**source.description, "adapter": False}
    description["base"] = {**description["base"], "quantization": None}
    ends = description.get("ends")
    settings = getattr(source.core, "generation_config", None)
    if ends and settings is not None:
        settings.eos_token_id = list(ends)
    with quiet():
        save_plain_model(folder, source.core)
    copy_beside(source.final, folder)
    write_json(folder / DESCRIPTION, description)
    write_use(folder, source.final, name, use_of(description) if source.description["adapter"] else None)


def write_vllm(folder: Path, source: Source, *, name: str) -> None:
    """Writes the whole model with its template as a file of its own, which vLLM reads beside the weights."""
    write_merged(folder, source, name=name)
    template = packaged_template(source.final, source.description)
    write_text(folder / TEMPLATE_FILE, template.source)
    require_vllm(folder, ends=source.description["ends"])


def require_vllm(folder: Path, *, ends: Sequence[int]) -> None:
    """Stops a folder that lacks what vLLM reads: architecture, weights, tokenizer, template, ends of a turn.

    Raises:
        UsageError: [export/not-for-vllm] naming what is missing.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = json.loads((folder / GENERATION).read_text("utf-8")) if (folder / GENERATION).is_file() else {}
    lacking = [name for name in ("tokenizer.json", TEMPLATE_FILE) if not (folder / name).is_file()]
    if not any(str(each).endswith("ForCausalLM") for each in config.get("architectures") or ()):
        lacking.append("an architecture that writes texts in config.json")
    if not any(folder.glob("*.safetensors")):
        lacking.append("weights")
    if settings.get("eos_token_id") != list(ends):
        lacking.append(f"the tokens that end a turn, {list(ends)}, in {GENERATION}")
    if lacking:
        raise UsageError(
            "export/not-for-vllm", f"vLLM would not find {', '.join(lacking)}", where=str(folder), hint="use `merged`"
        )


def write_adapter_folder(folder: Path, source_files: Path, description: Mapping[str, Any], *, name: str) -> None:
    """Copies peft's files and what lies beside them; the base stays where it is, named in adapter_config.json."""
    copy_beside(source_files, folder, adapter=True)
    write_json(folder / DESCRIPTION, dict(description))
    write_use(folder, source_files, name)


def use_of(description: Mapping[str, Any]) -> str:
    """USE.md of a whole model that was saved as an adapter."""
    if "ends" in description:
        return answer_without_burnish(description)
    if "max_target_length" in description:
        return write_without_burnish(description)
    return use_without_burnish(description)


class PlainReader:
    """An exported encoder, opened by transformers and peft alone.

    Args:
        folder: of the export.
        description: the run's model.json.
        base: on which peft puts the folder's adapter; None where the folder is whole.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any], base: Base | None = None) -> None:
        from transformers import AutoTokenizer

        self.description = description
        self.images = description["task"] == "image-classification"
        self.folder = folder
        self.graph: Any
        if self.images:
            from transformers import AutoModelForImageClassification

            self.graph = ImageGraph(AutoModelForImageClassification.from_pretrained(folder, **LOCAL)).eval()
            return
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        head = load_tensors(folder / HEAD) if (folder / HEAD).is_file() else None
        core, prompt = _opened_encoder(folder, base)
        self.pad = pad_of(core)
        self.takes_types = takes_types(core)
        pooling, normalize = str(description["pooling"]), bool(description["normalize"])
        self.graph = TextGraph(core, head, pooling=pooling, normalize=normalize, prompt=prompt).eval()

    def read(self, row: Row, positions: Sequence[int] | None) -> Read:
        """A row through the folder's own tokenizer."""
        return plain_read(self.tokenizer, row, max_length=int(self.description["max_length"]), positions=positions)

    def numbers(self, reads: Sequence[Read]) -> list[Array]:
        return numbers_of(self._run, reads, pad=self.pad)

    def numbers_of_images(self, rows: Sequence[Row]) -> list[Array]:
        """(1, C) for each image, through the folder's own settings."""
        return [self._run_one(pixels) for pixels in pixels_of(self.folder, rows)]

    @torch.no_grad()
    def _run(self, ids: Array, mask: Array, types: Array) -> Array:
        given = [torch.from_numpy(each) for each in ((ids, mask, types) if self.takes_types else (ids, mask))]
        found: Array = self.graph(*given).numpy()
        return found

    @torch.no_grad()
    def _run_one(self, pixels: Array) -> Array:
        found: Array = self.graph(torch.from_numpy(pixels)).numpy()
        return found


LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def pixels_of(folder: Path, rows: Sequence[Row]) -> Iterator[Array]:
    """(1, 3, H, W) float32 of each image, as transformers' own processor reads it."""
    import numpy as np
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
    for row in rows:
        image = read_image(Path(row["image"])).image
        yield np.asarray(processor([image], return_tensors="np")["pixel_values"], np.float32)


def _opened_encoder(folder: Path, base: Base | None) -> tuple[Any, int]:
    """The encoder, and the number of vectors that peft puts before each text."""
    from transformers import AutoModel

    with quiet():
        if base is None:
            return AutoModel.from_pretrained(folder, dtype="float32", **LOCAL).eval(), 0
        from peft import PeftModel

        plain = AutoModel.from_pretrained(base.folder, dtype="float32", **LOCAL)
        adapted = PeftModel.from_pretrained(plain, folder).eval()
    return adapted, int(getattr(adapted.active_peft_config, "num_virtual_tokens", 0) or 0)


class PlainWriter:
    """An exported language model, or encoder with a decoder, opened by transformers and peft alone.

    Args:
        folder, base: as of PlainReader.
        two_stacks: it is an encoder with a decoder.
    """

    def __init__(self, folder: Path, base: Base | None = None, *, two_stacks: bool = False) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        self.two_stacks = two_stacks
        architecture = AutoModelForSeq2SeqLM if two_stacks else AutoModelForCausalLM
        options: dict[str, Any] = {"dtype": "float32", **LOCAL}
        if base is not None and base.quantization is not None:
            from burnish.model.quantized import keep_exact, quantization_config

            options["quantization_config"] = quantization_config()
        with quiet():
            if base is None:
                self.model = architecture.from_pretrained(folder, **options).eval()
                return
            from peft import PeftModel

            plain = architecture.from_pretrained(base.folder, **options)
            if base.quantization is not None:
                keep_exact(plain)
            self.model = PeftModel.from_pretrained(plain, folder).eval()

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> list[int]:
        """Token ids of a conversation through the folder's own template and tokenizer."""
        text = self.tokenizer.apply_chat_template(
            list(messages), tools=list(tools) if tools else None, add_generation_prompt=True, tokenize=False
        )
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def source_ids(self, text: str) -> list[int]:
        """Token ids of a source."""
        found: list[int] = self.tokenizer(text, return_token_type_ids=False)["input_ids"]
        return found

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> Array:
        """(V,) of the first token that is written."""
        given: dict[str, Tensor] = {"input_ids": torch.tensor([list(ids)])}
        if self.two_stacks:
            given["decoder_input_ids"] = torch.tensor([[self.model.config.decoder_start_token_id]])
        found: Array = self.model(**given).logits[0, -1].float().numpy()
        return found

    @torch.no_grad()
    def answer(self, ids: Sequence[int], *, ends: Sequence[int], most: int) -> list[int]:
        """Tokens taken greedily until one of `ends`, which is left out, or `most` of them."""
        from transformers import GenerationConfig

        asked = torch.tensor([list(ids)])
        settings = GenerationConfig(
            max_new_tokens=most, do_sample=False, eos_token_id=list(ends), pad_token_id=int(ends[0])
        )
        with quiet():
            out = self.model.generate(
                input_ids=asked, attention_mask=torch.ones_like(asked), generation_config=settings
            )
        written = out[0, 1 if self.two_stacks else len(ids) :].tolist()
        stop = next((place for place, token in enumerate(written) if token in ends), len(written))
        return [int(token) for token in written[:stop]]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what transformers and peft say to their own developers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
