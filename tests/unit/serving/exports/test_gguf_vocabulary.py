"""Tokenizers as llama.cpp keeps them, and those it has no rule for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ModelError
from burnish.serving.exports.gguf_vocabulary import BYTE, CONTROL, NEVER, NORMAL, UNKNOWN, UNUSED, read_vocabulary

BYTES = {"type": "ByteLevel", "use_regex": True}


def written(folder: Path, **changes: Any) -> Path:
    """A folder with a tokenizer that joins pieces."""
    content: dict[str, Any] = {
        "added_tokens": [{"id": 0, "content": "<s>", "special": True}],
        "normalizer": None,
        "pre_tokenizer": BYTES,
        "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content | changes), encoding="utf-8")
    return folder


def test_merges_over_bytes(tmp_path: Path) -> None:
    found = read_vocabulary(written(tmp_path), 5)
    assert (found.model, found.pre, found.merges, found.scores) == ("gpt2", "gpt-2", ["a b"], ())
    assert found.tokens == ["<s>", "a", "b", "ab", "[unused4]"]
    assert found.kinds == [CONTROL, NORMAL, NORMAL, NORMAL, UNUSED]


def test_pieces_with_scores_in_the_order_they_are_joined(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<0x0A>": 1, "a": 2, "b": 3, "▁": 4, "ab": 5, "▁a": 6}
    model = {
        "type": "BPE",
        "byte_fallback": True,
        "unk_token": "<unk>",
        "vocab": vocabulary,
        "merges": [["▁", "a"], ["a", "b"]],
    }
    spaces = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]}
    folder = written(tmp_path, model=model, normalizer=spaces, pre_tokenizer=None, added_tokens=[])
    found = read_vocabulary(folder, 7)
    assert (found.model, found.space_prefix, found.merges) == ("llama", True, ())
    assert found.kinds == [UNKNOWN, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL]
    assert found.scores == [0.0, 0.0, NEVER, NEVER, NEVER, -1.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, "of the kind WordPiece"),
        ({"model": {"type": "BPE", "vocab": {"a": 9}, "merges": []}}, "reaches token 9, the weights hold 5"),
        ({"model": {"type": "BPE", "vocab": {"a": 1}, "merges": []}}, "joins no pieces"),
        ({"normalizer": {"type": "Lowercase"}}, "changes texts first (Lowercase)"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "no rule that is known"),
        (
            {"pre_tokenizer": {"pretokenizers": [{"type": "Split", "pattern": {"Regex": "x+"}}, BYTES]}},
            "no rule that is known",
        ),
    ],
)
def test_what_llama_cpp_has_no_rule_for_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_vocabulary(written(tmp_path, **changes), 5)
    error = caught.value
    assert (error.code, error.where) == ("export/unknown-tokenizer", str(tmp_path / "tokenizer.json"))
    assert reason in error.message
    assert "merged" in str(error.hint)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_vocabulary(tmp_path, 5)
    assert caught.value.where == str(tmp_path)
