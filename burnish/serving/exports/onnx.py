"""ONNX: one file that onnxruntime opens, any number of rows of any length; eight-bit weights where asked for.

model.onnx    input_ids, attention_mask (and token_type_ids) -> logits, or embedding of length 1 without a head;
              pixel_values -> logits of an image; input_ids, given -> outputs of a table
model.json    labels, lengths, how a table's cells become tokens
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from burnish.errors import ModelError, excerpt
from burnish.serving.exports.folder import USE, copy_beside
from burnish.serving.exports.graph import ImageGraph, TableGraph, TextGraph
from burnish.serving.exports.plain import LOCAL, pixels_of
from burnish.serving.exports.reading import Array, Read, numbers_of, plain_read
from burnish.serving.exports.source import Source, pad_of, takes_types
from burnish.serving.package import DESCRIPTION
from burnish.storage.durable import explained, write_json, write_text
from burnish.types import Row

FILE = "model.onnx"
MAX_INLINE_BYTES = 2**31 - 2**20  # of one file of protobuf; larger weights lie beside it
IDS, MASK, TYPES, PIXELS, GIVEN = "input_ids", "attention_mask", "token_type_ids", "pixel_values", "given"
_USE = """# Without burnish

Run beside the folder `{name}`:

```python
import json, pathlib
import onnxruntime
{imports}
about = json.loads(pathlib.Path("{name}/model.json").read_text("utf-8"))
session = onnxruntime.InferenceSession("{name}/model.onnx", providers=["CPUExecutionProvider"])
{inputs}
(numbers,) = session.run(None, {{each.name: inputs[each.name] for each in session.get_inputs()}})
print(numbers)  # {meaning}
```
"""
_TEXT_INPUTS = """tokenizer = AutoTokenizer.from_pretrained("{name}")
cut = {{"truncation": True, "max_length": about["max_length"], "padding": True, "return_tensors": "np"}}
inputs = tokenizer({asked}, return_token_type_ids=True, **cut)"""
_ASKED = {
    "text-pair-classification": '["one text here"], ["the other one"]',
    "text-pair-regression": '["one text here"], ["the other one"]',
    "question-answering": '["your question"], ["the text that answers it"]',
    "token-classification": '[["your", "tokens", "here"]], is_split_into_words=True',
}
_IMAGE_INPUTS = """processor = AutoImageProcessor.from_pretrained("{name}")
inputs = processor([Image.open("your-image.png").convert("RGB")], return_tensors="np")"""
_TABLE_INPUTS = """count = len(about["table"]["numbers"])
cells = 1 + count + len(about["table"]["categories"])
inputs = {{"input_ids": np.zeros((1, cells), np.int64), "given": np.zeros((1, count), np.float32)}}"""


def write_onnx(folder: Path, source: Source, *, name: str) -> None:
    """Writes the graph and what is needed to read its rows.

    Raises:
        ModelError: [export/no-graph] when torch cannot follow what the model computes.
    """
    graph, inputs, free = _traced(source)
    with explained(folder / FILE, 0):
        _export(graph, inputs, free, folder / FILE)
    copy_beside(source.final, folder)
    (folder / "head.safetensors").unlink(missing_ok=True)  # it is in the graph
    (folder / "trees.txt").unlink(missing_ok=True)
    write_json(folder / DESCRIPTION, {**source.description, "pad": pad_of(source.core)})
    write_text(folder / USE, _use(source.task, name, source.description))


def _traced(source: Source) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, dict[int, Any]]]:
    """The graph with an example of its inputs and their free dimensions."""
    anything = torch.export.Dim.DYNAMIC
    if source.task == "tabular":
        shape = source.core.shape
        cells = 1 + shape.numbers + len(source.description["table"]["categories"])
        ids = torch.zeros((2, cells), dtype=torch.long)
        given = torch.zeros((2, shape.numbers))
        return TableGraph(source.core), {IDS: ids, GIVEN: given}, {IDS: {0: anything}, GIVEN: {0: anything}}
    if source.task == "image-classification":
        height, width = _image_size(source.final)
        return ImageGraph(source.core), {PIXELS: torch.zeros((2, 3, height, width))}, {PIXELS: {0: anything}}
    core = source.core
    core.config._attn_implementation = "eager"  # plain products, which every runtime knows and fuses
    about = source.description
    graph = TextGraph(core, source.head, pooling=str(about["pooling"]), normalize=bool(about["normalize"]))
    names = (IDS, MASK, TYPES) if takes_types(core) else (IDS, MASK)
    start = 1 + pad_of(core)  # any real token
    inputs = {each: torch.zeros((2, 5), dtype=torch.long) for each in names}
    inputs[IDS] += start
    inputs[MASK] += torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return graph, inputs, {each: {0: anything, 1: anything} for each in names}


def _image_size(final: Path) -> tuple[int, int]:
    from burnish.model.images import read_preprocessing

    return read_preprocessing(final).size


def _export(
    graph: nn.Module, inputs: Mapping[str, torch.Tensor], free: Mapping[str, dict[int, Any]], target: Path
) -> None:
    size = sum(weight.numel() * weight.element_size() for weight in graph.parameters())
    noisy = [logging.getLogger(each) for each in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [each.level for each in noisy]
    try:
        for each in noisy:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of its own deprecated parts
            torch.onnx.export(
                graph.eval(),
                tuple(inputs.values()),
                target,
                input_names=list(inputs),
                output_names=["numbers"],
                dynamic_shapes=tuple(free.values()),
                dynamo=True,
                external_data=size > MAX_INLINE_BYTES,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = excerpt(str(error).splitlines()[0], 200)
        raise ModelError(
            "export/no-graph",
            f"torch cannot write this model as a graph: {reason}",
            where=str(target),
            hint="export it as `merged`, which transformers opens",
        ) from error
    finally:
        for each, level in zip(noisy, levels, strict=True):
            each.setLevel(level)


def quantize_int8(folder: Path) -> None:
    """Puts the graph's matrices into eight bits, each with a scale of its own; what is computed from is scaled anew
    for each batch.

    The shapes that torch noted beside the graph are taken out first: onnxruntime reads them, and does not when they
    name free dimensions.

    Source: onnxruntime's dynamic quantization.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(folder / FILE)
    del model.graph.value_info[:]
    plain = folder / "whole.onnx"
    with explained(folder / FILE, 0):
        onnx.save(model, plain)
        root = logging.getLogger()
        level = root.level
        try:
            root.setLevel(logging.ERROR)  # it advises preparing the model, which was done above
            quantize_dynamic(plain, folder / FILE, weight_type=QuantType.QInt8)
        finally:
            root.setLevel(level)
    plain.unlink()


def _use(task: str, name: str, about: Mapping[str, Any]) -> str:
    imports = "from transformers import AutoTokenizer"
    inputs = _TEXT_INPUTS.format(name=name, asked=_ASKED.get(task, '["your text here"]'))
    if task == "image-classification":
        imports = "from PIL import Image\nfrom transformers import AutoImageProcessor"
        inputs = _IMAGE_INPUTS.format(name=name)
    if task == "tabular":
        imports, inputs = "import numpy as np", _TABLE_INPUTS.format()
    meaning = "a logit for each of about['labels']" if about.get("labels") else "numbers"
    if task == "embedding":
        meaning = "a vector of length 1 for each text"
    return _USE.format(name=name, imports=imports, inputs=inputs, meaning=meaning)


class OnnxReader:
    """An exported graph, opened by onnxruntime.

    Args:
        folder: of the export.
        description: the run's model.json.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in self.session.get_inputs()]
        self.folder, self.description = folder, description
        self.pad = int(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["pad"])
        self.tokenizer: Any = None
        if IDS in self.names and GIVEN not in self.names:
            from transformers import AutoTokenizer

            self.tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)

    def read(self, row: Row, positions: Sequence[int] | None) -> Read:
        """A row through the folder's own tokenizer."""
        return plain_read(self.tokenizer, row, max_length=int(self.description["max_length"]), positions=positions)

    def numbers(self, reads: Sequence[Read]) -> list[Array]:
        return numbers_of(self._run, reads, pad=self.pad)

    def numbers_of_images(self, rows: Sequence[Row]) -> list[Array]:
        """(1, C) for each image."""
        return [self._answer({PIXELS: pixels}) for pixels in pixels_of(self.folder, rows)]

    def numbers_of_table(self, ids_NS: Array, given_NK: Array) -> list[Array]:
        """(1, outputs) for each row of a table."""
        found = self._answer({IDS: ids_NS, GIVEN: given_NK.astype(np.float32)})
        return [row[None] for row in found]

    def _run(self, ids: Array, mask: Array, types: Array) -> Array:
        given = {IDS: ids, MASK: mask, TYPES: types}
        return self._answer({each: given[each] for each in self.names})

    def _answer(self, inputs: Mapping[str, Array]) -> Array:
        (numbers,) = self.session.run(None, {each: inputs[each] for each in self.names})
        found: Array = numbers
        return found
