"""The gate in front of every library that opens a model folder.

A model folder is data from a stranger: configurations have carried code, weights have been pickles, indexes have
pointed outside. Everything here reads JSON and headers only; nothing of the folder is ever run.
"""

from __future__ import annotations

import itertools
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ModelError

MAX_JSON_BYTES = 64 * 2**20  # tokenizer.json of large vocabularies reaches 30 MB
MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS = 100_000
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npy", ".npz", ".joblib")
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTERS = ("LORA", "IA3", "PROMPT_TUNING")  # peft's names of what `model/adapters.py` puts back
CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a model folder holds, read without loading it."""

    folder: Path
    model_type: str
    parameters: int
    weight_files: tuple[str, ...]
    ignored: tuple[str, ...]  # pickles and code beside the weights: never opened


def inspect_model_folder(folder: Path, *, weights_needed: bool = True) -> Inspection:
    """Checks a model folder before any library opens it.

    Args:
        weights_needed: False for a model whose weights are drawn; those in the folder are not counted then.

    Raises:
        ModelError: [model/not-a-model], [model/no-safetensors], [model/remote-code], [model/path-escape],
            [model/bad-file] naming the file and what is wrong with it.
    """
    config = _config(folder)
    files = sorted(p for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())
    for path in files:
        _refuse_escape(folder, path)
    for path in files:
        if path.suffix == ".json":
            _refuse_code(path, _read_json(path))
    weights = [p for p in files if p.suffix == ".safetensors" and p.parent == folder] if weights_needed else []
    ignored = tuple(p.relative_to(folder).as_posix() for p in files if p.suffix in (*PICKLES, ".py"))
    if weights_needed and not weights:
        beside = f" (only {', '.join(ignored[:3])}, which burnish never opens)" if ignored else ""
        raise ModelError(
            "model/no-safetensors",
            f"no .safetensors weights in this model folder{beside}",
            where=str(folder),
            hint="use a version of the model published as safetensors; pickled weights can run code when opened",
        )
    _check_index(folder)
    parameters = sum(_header_parameters(path) for path in weights)
    return Inspection(
        folder=folder,
        model_type=str(config.get("model_type", "")),
        parameters=parameters,
        weight_files=tuple(p.name for p in weights),
        ignored=ignored,
    )


def inspect_adapter_folder(folder: Path) -> Inspection:
    """Checks a folder of peft's before peft opens it; `model_type` is the name of the base it lies on.

    Raises:
        ModelError: [model/unknown-adapter], [model/no-safetensors], [model/remote-code], [model/path-escape],
            [model/bad-file].
    """
    files = sorted(p for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())
    for path in files:
        _refuse_escape(folder, path)
    for path in files:
        if path.suffix == ".json":
            _refuse_code(path, _read_json(path))
    path = folder / ADAPTER_CONFIG
    config = _read_json(path)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or config.get("peft_type") not in ADAPTERS:
        raise ModelError(
            "model/unknown-adapter",
            "is no adapter of a kind that burnish reads, or does not name its base",
            where=str(path),
            known=ADAPTERS,
            hint="merge it into its base with the program that made it, and import that folder",
        )
    if config.get("megatron_config") or config.get("megatron_core") not in (None, "megatron.core"):
        raise ModelError("model/remote-code", '"megatron_core" names code outside peft', where=str(path))
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        raise ModelError(
            "model/no-safetensors",
            f"there is no {ADAPTER_WEIGHTS} in this adapter's folder",
            where=str(folder),
            hint="save it again as safetensors; pickled weights can run code when opened",
        )
    ignored = tuple(p.relative_to(folder).as_posix() for p in files if p.suffix in (*PICKLES, ".py"))
    return Inspection(folder, base, _header_parameters(weights), (ADAPTER_WEIGHTS,), ignored)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir() or not path.is_file():
        raise ModelError(
            "model/not-a-model",
            "there is no config.json here, so this is not a model folder",
            where=str(folder),
            hint="name the folder that holds config.json and *.safetensors",
        )
    config = _read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError("model/not-a-model", 'config.json has no "model_type"', where=str(path))
    return config


def _refuse_escape(folder: Path, path: Path) -> None:
    resolved = path.resolve()
    # A hub cache keeps its files as links into ../../blobs of the same repository; that one place is allowed.
    blobs = folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
    if not (resolved.is_relative_to(folder.resolve()) or resolved.is_relative_to(blobs.resolve())):
        raise ModelError("model/path-escape", f"links outside the model folder: {resolved}", where=str(path))
    if not resolved.is_file():
        raise ModelError("model/bad-file", "is not a regular file", where=str(path))


def _read_json(path: Path) -> Any:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError("model/bad-file", f"JSON larger than {MAX_JSON_BYTES:,} bytes", where=str(path))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError("model/bad-file", f"not readable as JSON: {excerpt_of(error)}", where=str(path)) from error


def excerpt_of(error: Exception) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


def _refuse_code(path: Path, value: Any) -> None:
    """Refuses keys that make libraries import code, anywhere in the tree (tokenizer vocabularies aside)."""
    if path.name in ("tokenizer.json", "vocab.json", "data_config.json"):
        return
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for key, child in node.items():
                if key in CODE_KEYS and child not in (None, False, {}, []):
                    raise ModelError(
                        "model/remote-code",
                        f'the key "{key}" makes libraries run code that comes with the model; burnish never does',
                        where=str(path),
                        hint="choose a base whose architecture is part of transformers",
                    )
                if key in ("_attn_implementation", "attn_implementation") and _foreign(child):
                    raise ModelError(
                        "model/remote-code", f'"{key}" names code outside transformers: {child!r}', where=str(path)
                    )
                stack.append(child)
        elif isinstance(node, list):
            stack.extend(node)


def _foreign(value: Any) -> bool:
    return isinstance(value, str) and any(c in value for c in "/:@")


def _check_index(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    index = _read_json(path)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        raise ModelError("model/bad-file", 'the index has no "weight_map"', where=str(path))
    for shard in sorted({str(s) for s in shards.values()}):
        if "/" in shard or "\\" in shard or shard.startswith(".") or not shard.endswith(".safetensors"):
            raise ModelError("model/path-escape", f"the index names a file elsewhere: {shard!r}", where=str(path))
        if not (folder / shard).is_file():
            raise ModelError("model/bad-file", f"the index names {shard}, which is not here", where=str(path))


def _header_parameters(path: Path) -> int:
    """Number of weights in a safetensors file, after checking that header and data fit together."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ModelError("model/bad-file", f"safetensors header of {length:,} bytes", where=str(path))
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        spans = sorted((int(e["data_offsets"][0]), int(e["data_offsets"][1])) for e in tensors.values())
        counts = [_elements(e["shape"], most=8 * size) for e in tensors.values()]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError("model/bad-file", "safetensors header is not valid", where=str(path)) from error
    overlap = any(begin < end for (_, end), (begin, _) in itertools.pairwise(spans))
    outside = any(not 0 <= begin <= end <= size - 8 - length for begin, end in spans)
    if len(tensors) > MAX_TENSORS or overlap or outside:
        raise ModelError("model/bad-file", "safetensors header does not fit the file's data", where=str(path))
    return sum(counts)


def _elements(shape: list[int], *, most: int) -> int:
    """Product of a shape; ValueError when it is no shape of at most `most` elements (a long product takes minutes)."""
    product = 1
    for side in shape:
        product *= int(side)
        if not 0 <= product <= most:
            raise ValueError("not a shape of this file")
    return product
