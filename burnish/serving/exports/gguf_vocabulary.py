"""The tokenizer of a model as llama.cpp keeps it: what each token is, and which pieces join to which.

llama.cpp has two ways that are told apart here: pieces with scores, as sentencepiece has them, and merges over bytes,
as GPT-2 has them. Which texts they cut alike is not believed but tried, on each prompt and on `AWKWARD`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ModelError

SPACE = "▁"
NEVER = -1e6  # score of a piece that no two others join to
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # gguf.TokenType
# How texts are cut before pieces are joined, by llama.cpp's names; the pattern is that of tokenizer.json.
_GPT2 = "gpt-2"
_PATTERNS: Mapping[str, str] = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "llama-bpe",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "qwen2",
}
AWKWARD = (  # texts that tokenizers cut differently when their rules differ
    "Hello, world! It's 3.14159 or 1,234,567.",
    "  two  spaces\n\n\nthree lines\tand a tab \r\n",
    "I'LL they've DON'T we'd isn't 'quoted'",
    "naïve café straße ñandú Привет мир 你好，世界 こんにちは",
    "emoji 🙂👩‍👩‍👧 and zero\u200bwidth",
    "def f(x):\n    return {'a': [1, 2, 3]}  # code",
    "aaaaaaaaaaaaaaaaaaaaaaaa 00000000000 ---------- ==========",
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What llama.cpp needs of a tokenizer.

    Attributes:
        model: "llama" for scores, "gpt2" for merges.
        pre: name of the rule that cuts a text first.
        tokens, kinds: of each id, its piece and gguf.TokenType.
        scores: of each id; empty where there are merges.
        merges: "a b" in the order they are joined; empty where there are scores.
        space_prefix: a space is put before a text.
    """

    model: str
    pre: str
    tokens: Sequence[str]
    kinds: Sequence[int]
    scores: Sequence[float] = ()
    merges: Sequence[str] = ()
    space_prefix: bool = False


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The tokenizer of a folder.

    Args:
        size: rows of the model's table of tokens; ids without a piece are filled.

    Raises:
        ModelError: [export/unknown-tokenizer] for one that llama.cpp has no rule for.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise _unknown(folder, "there is no tokenizer.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    model = content["model"]
    if model.get("type") != "BPE":
        raise _unknown(path, f"it is of the kind {model.get('type')}, llama.cpp joins pairs (BPE)")
    pieces = {int(index): piece for piece, index in model["vocab"].items()}
    added = {int(each["id"]): each for each in content.get("added_tokens") or ()}
    pieces |= {index: str(each["content"]) for index, each in added.items()}
    if max(pieces) >= size:
        raise _unknown(path, f"it reaches token {max(pieces):,}, the weights hold {size:,}")
    tokens = [pieces.get(index, f"[unused{index}]") for index in range(size)]
    kinds = [_kind(index, pieces, added, str(model.get("unk_token") or "")) for index in range(size)]
    merges = [" ".join(each) if isinstance(each, list) else str(each) for each in model.get("merges") or ()]
    if model.get("byte_fallback"):
        return Vocabulary("llama", "default", tokens, kinds, _scores(tokens, kinds, merges), (), _space(content, path))
    if not merges:
        raise _unknown(path, "it joins no pieces")
    return Vocabulary("gpt2", _pre(content, path), tokens, kinds, merges=merges)


def _kind(index: int, pieces: Mapping[int, str], added: Mapping[int, Any], unknown: str) -> int:
    if index not in pieces:
        return UNUSED
    if pieces[index] == unknown:
        return UNKNOWN
    if index in added:
        return CONTROL if added[index].get("special") else USER_DEFINED
    return BYTE if _BYTE.fullmatch(pieces[index]) else NORMAL


def _scores(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[str]) -> list[float]:
    """Pieces that are joined first have the highest score, which is the order of the merges."""
    rank: dict[str, int] = {}
    for place, merge in enumerate(merges):
        first, _, second = merge.partition(" ")
        rank.setdefault(first + second, place)
    return [
        float(-rank[token]) if token in rank else NEVER if kind == NORMAL else 0.0
        for token, kind in zip(tokens, kinds, strict=True)
    ]


def _space(content: Mapping[str, Any], path: Path) -> bool:
    """Whether a space is put before a text; spaces must be written as sentencepiece writes them."""
    text = json.dumps(content.get("normalizer") or {}, ensure_ascii=False)
    before = json.dumps(content.get("pre_tokenizer") or {}, ensure_ascii=False)
    if SPACE not in text + before:
        raise _unknown(path, "its spaces are not written as sentencepiece writes them")
    return '"Prepend"' in text or '"prepend_scheme": "always"' in before or '"prepend_scheme": "first"' in before


def _pre(content: Mapping[str, Any], path: Path) -> str:
    """llama.cpp's name of how a text is cut before its pieces are joined."""
    if content.get("normalizer") not in (None, {"type": "NFC"}):
        raise _unknown(path, f"it changes texts first ({content['normalizer'].get('type')})")
    before = content.get("pre_tokenizer") or {}
    parts = before.get("pretokenizers") or [before]
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return _GPT2
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        found = _PATTERNS.get(str((parts[0].get("pattern") or {}).get("Regex")))
        if found is not None:
            return found
    raise _unknown(path, "llama.cpp has no rule that is known to cut texts as it does")


def _unknown(where: Path, reason: str) -> ModelError:
    return ModelError(
        "export/unknown-tokenizer",
        f"this tokenizer cannot be written for llama.cpp: {reason}",
        where=str(where),
        hint="export it as `merged` or `vllm`, which keep the tokenizer as it is",
    )
