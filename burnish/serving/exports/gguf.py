"""GGUF: the weights, tokenizer, template and ends of a turn in one file that llama.cpp and what is built on it open.

Matrices are kept in float16, or in eight bits with a scale for each 32 numbers (q8_0); vectors in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from burnish.errors import ModelError
from burnish.serving.exports.folder import USE
from burnish.serving.exports.gguf_vocabulary import Vocabulary, read_vocabulary
from burnish.serving.exports.reading import Array
from burnish.serving.exports.source import Source
from burnish.serving.language_package import packaged_template
from burnish.storage.durable import explained, write_text

if TYPE_CHECKING:
    from gguf import GGUFWriter

WHOLE = "f32"
FILE = "model.gguf"
FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}  # model_type -> llama.cpp's name
_PAIRED = ("llama",)  # of these llama.cpp turns neighbouring numbers of a head, transformers those half a head apart
_USE = """# Without burnish

`model.gguf` opens in llama.cpp and what is built on it, for example:

```sh
llama-cli -m {name}/model.gguf --jinja -cnv
```
"""


def require_family(config: Any) -> str:
    """llama.cpp's name of a model's family.

    Raises:
        ModelError: [export/unknown-family] for one whose layers are not known to be computed alike there.
    """
    name = FAMILIES.get(str(config.model_type))
    if name is None:
        raise _unknown(config, f"a {config.model_type} is not one of the families that were proven")
    rope = dict(getattr(config, "rope_parameters", None) or {})
    kind = rope.get("rope_type", "default")
    if kind not in ("default", "llama3"):
        raise _unknown(config, f"its positions are stretched by {kind}")
    if kind == "llama3" and name != "llama":
        raise _unknown(config, f"positions stretched by {kind} are known of llama only")
    window = getattr(config, "sliding_window", None)
    if window and window < config.max_position_embeddings and getattr(config, "use_sliding_window", True):
        raise _unknown(config, f"its tokens see only {window:,} tokens before them")
    if str(config.hidden_act) != "silu":
        raise _unknown(config, f"its layers use {config.hidden_act}")
    return name


def write_gguf(folder: Path, source: Source, *, name: str, quantize: str | None) -> dict[str, Any]:
    """Writes model.gguf.

    Args:
        quantize: "q8_0"; None: float16; WHOLE: float32, to prove the rest with.

    Returns:
        {"tensors": how many are kept in which numbers}.

    Raises:
        ModelError: [export/unknown-family]; [export/unknown-tokenizer]; [export/unknown-tensor].
    """
    import gguf

    config = source.core.config
    family = require_family(config)
    weights: Array = source.core.get_input_embeddings().weight
    vocabulary = read_vocabulary(source.final, len(weights))
    target = folder / FILE
    with explained(target, 0):
        writer = gguf.GGUFWriter(target, family)
        _write_shape(writer, config, quantize)
        _write_vocabulary(writer, vocabulary, source)
        kept: dict[str, int] = {}
        for tensor, values, numbers in _tensors(source.core, family, quantize):
            writer.add_tensor(tensor, values, raw_dtype=numbers)
            kept[numbers.name.lower()] = kept.get(numbers.name.lower(), 0) + 1
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    write_text(folder / USE, _USE.format(name=name))
    return {"tensors": kept}


def _write_shape(writer: GGUFWriter, config: Any, quantize: str | None) -> None:
    import gguf

    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    rope = dict(getattr(config, "rope_parameters", None) or {})
    writer.add_block_count(int(config.num_hidden_layers))
    writer.add_context_length(int(config.max_position_embeddings))
    writer.add_embedding_length(int(config.hidden_size))
    writer.add_feed_forward_length(int(config.intermediate_size))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.num_key_value_heads))
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(int(config.vocab_size))
    kinds = gguf.LlamaFileType
    writer.add_file_type({None: kinds.MOSTLY_F16, WHOLE: kinds.ALL_F32}.get(quantize, kinds.MOSTLY_Q8_0))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _write_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary, source: Source) -> None:
    """Pieces, special tokens, template and the tokens that end a turn.

    The template itself begins a text with its first token, so llama.cpp is told to add none.
    """
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list([token.encode() for token in vocabulary.tokens])
    writer.add_token_types(list(vocabulary.kinds))
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
        writer.add_add_space_prefix(vocabulary.space_prefix)
    else:
        writer.add_token_merges(list(vocabulary.merges))
    template = packaged_template(source.final, source.description)
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    ends = [int(end) for end in source.description["ends"]]
    own = ids.get(template.tokens.get("eos_token", ""))
    writer.add_eos_token_id(own if own is not None else ends[0])
    others = [end for end in ends if end != own]
    if others:
        writer.add_eot_token_id(others[0])
    for name, add in (
        ("bos_token", writer.add_bos_token_id),
        ("unk_token", writer.add_unk_token_id),
        ("pad_token", writer.add_pad_token_id),
    ):
        known = ids.get(template.tokens.get(name, ""))
        if known is not None:
            add(known)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(template.source)


def _tensors(core: Any, family: str, quantize: str | None) -> Iterator[tuple[str, Array, Any]]:
    """Each tensor by llama.cpp's name, in the numbers it is kept in."""
    import gguf

    config = core.config
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, family.upper()), int(config.num_hidden_layers))
    tied = bool(getattr(config, "tie_word_embeddings", False))
    factors = rope_factors(config)
    if factors is not None:
        yield "rope_freqs.weight", factors, gguf.GGMLQuantizationType.F32
    for name, tensor in core.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ModelError(
                "export/unknown-tensor",
                f"llama.cpp has no place for {name} of a {config.model_type}",
                where=str(config.model_type),
                hint="export it as `merged` or `vllm`",
            )
        values: Array = tensor.detach().float().numpy()
        if family in _PAIRED and ".self_attn.q_proj." in name:
            values = neighbouring(values, int(config.num_attention_heads))
        if family in _PAIRED and ".self_attn.k_proj." in name:
            values = neighbouring(values, int(config.num_key_value_heads))
        yield (found, *_kept(values, quantize))


def _kept(values: Array, quantize: str | None) -> tuple[Array, Any]:
    """A tensor in the numbers it is kept in; rows that eight bits do not divide stay in float16."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    if values.ndim == 1 or quantize == WHOLE:
        return values.astype(np.float32), kinds.F32
    if quantize and values.shape[-1] % gguf.GGML_QUANT_SIZES[kinds.Q8_0][0] == 0:
        return gguf.quants.quantize(values, kinds.Q8_0), kinds.Q8_0
    return values.astype(np.float16), kinds.F16


def neighbouring(values: Array, heads: int) -> Array:
    """The rows of a projection with those that a rotation turns together next to each other.

    transformers turns row i of a head with row i + half; llama.cpp row 2 i with row 2 i + 1.

    Args:
        values: (heads * width, ...) of queries or keys.

    >>> neighbouring(np.arange(8), heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def rope_factors(config: Any) -> Array | None:
    """(width / 2,) float32 by which Llama 3.1 slows each frequency down; None where positions are not stretched.

    Source: `rope_type: llama3` of transformers (modeling_rope_utils.py), as llama.cpp's converter writes it.
    """
    rope: Mapping[str, Any] = dict(getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type") != "llama3":
        return None
    width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    factor, context = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    found: list[float] = []
    for place in range(0, width, 2):
        wavelength = 2 * math.pi * float(rope["rope_theta"]) ** (place / width)
        if wavelength < context / high:
            found.append(1.0)
        elif wavelength > context / low:
            found.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, dtype=np.float32)


def _unknown(config: Any, reason: str) -> ModelError:
    return ModelError(
        "export/unknown-family",
        f"this model cannot be written for llama.cpp: {reason}",
        where=str(getattr(config, "name_or_path", "") or config.model_type),
        known=sorted(FAMILIES),
        hint="export it as `merged` or `vllm`",
    )
