"""What llama.cpp says of an answer, token by token."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.errors import ModelError
from burnish.serving.exports.llama_cpp import LlamaCpp, aligned, finite


def test_a_token_that_nothing_is_said_of_has_no_probability() -> None:
    said = [(5, -0.1), (7, -0.3), (5, -0.2)]
    assert aligned([5, 6, 7, 5, 9], said) == [-0.1, None, -0.3, -0.2, None]
    assert aligned([], said) == []
    assert aligned([4, 4, 6], [(4, -0.1), (6, -0.3)]) == [None, None, -0.3], "which 4 it is, is not known"


def test_an_impossible_token_has_a_number() -> None:
    assert (finite(-0.5), finite(float("-inf"))) == (-0.5, -1e4)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError) as caught:
        LlamaCpp(tmp_path / "model.gguf", context=64, threads=1)
    assert (caught.value.code, caught.value.where) == ("export/not-opened", str(tmp_path / "model.gguf"))
