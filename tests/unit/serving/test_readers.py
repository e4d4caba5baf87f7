"""What is prepared for the models that answer rows."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from burnish.serving.readers import Vectors


@pytest.mark.parametrize("single", ["[CLS] $A [SEP]", "[CLS] $A", "$A [SEP]", "$A", "[CLS] [CLS] $A [SEP]"])
@pytest.mark.parametrize("max_length", [64, 6])
def test_tokens_get_the_special_ones_where_the_tokenizer_puts_them(
    make_tokenizer: Any, single: str, max_length: int
) -> None:
    tokenizer: Tokenizer = make_tokenizer()
    known = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=known)
    unused: Any = None
    tokenizer.enable_truncation(max_length)
    vectors = Vectors(unused, tokenizer, max_length, unused, unused, 8)
    text = "where is my lost card and my money"
    expected = tokenizer.encode(text).ids
    tokenizer.no_truncation()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.enable_truncation(max_length)
    assert vectors.prepare([ids])[0].content.tolist() == expected
