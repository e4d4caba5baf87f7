"""What the scripts about language models share: a Llama of 71 million random weights, and conversations of its words.

Each word is one token, so that lengths are exactly what was drawn: like those of chats, lognormal with a mean of 196
tokens and at most 1,024, 49 % of them in answers. Numbers and not what they say decide how fast a model learns them;
how well models learn is what other scripts measure.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 49_152
SHAPE: dict[str, Any] = {
    "hidden_size": 576,
    "num_hidden_layers": 12,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1_536,
    "max_position_embeddings": 2_048,
    "tie_word_embeddings": True,
}
TINY: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "max_position_embeddings": 2_048,
    "tie_word_embeddings": True,
}
MEAN, LONGEST, SPREAD = 196, 1_024, 0.9  # tokens, tokens, of the logarithm
ANSWERS = 0.49  # share of the tokens
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ROLES = ("user", "assistant", "system")
TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} {{ message['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
AROUND = 6  # tokens of a conversation of two turns that nobody wrote


def make_base(folder: Path, *, seed: int, tiny: bool = False) -> str:
    """A folder with a base of this shape in bfloat16, as bases are published, its tokenizer and its chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = 2_048 if tiny else VOCABULARY
    write_tokenizer(folder, size)
    torch.manual_seed(seed)
    config = LlamaConfig(**(TINY if tiny else SHAPE), vocab_size=size, bos_token_id=0, eos_token_id=2, pad_token_id=0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return str(folder)


def write_tokenizer(folder: Path, size: int) -> None:
    """A tokenizer of so many words, each one token, with its chat template, in a new folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    named = [*SPECIAL, *ROLES]
    words = {word: place for place, word in enumerate([*named, *(f"w{i}" for i in range(size - len(named)))])}
    tokenizer = Tokenizer(models.WordLevel(vocab=words, unk_token=SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"chat_template": TEMPLATE}))


def lengths(count: int, *, seed: int, longest: int = LONGEST) -> list[int]:
    """Tokens of so many conversations."""
    random = np.random.default_rng(seed)
    centre = np.log(MEAN) - SPREAD**2 / 2
    drawn = np.exp(random.normal(centre, SPREAD, size=4 * count))
    fitting = drawn[(drawn >= 2 * AROUND) & (drawn <= longest)][:count]
    return [int(length) for length in fitting * min(1.0, longest / MEAN)]


def conversations(count: int, *, seed: int, words: int) -> list[dict[str, Any]]:
    """One question and one answer each."""
    random, rows = np.random.default_rng(seed + 1), []
    for length in lengths(count, seed=seed):
        answer = round(ANSWERS * length)
        turns = (("user", length - answer - AROUND + 1), ("assistant", answer - 1))
        rows.append({"messages": [_turn(role, tokens, random, words) for role, tokens in turns]})
    return rows


def preferences(count: int, *, seed: int, words: int) -> list[dict[str, Any]]:
    """One question and two answers each, each answer as long as one of `conversations`."""
    random, rows = np.random.default_rng(seed + 2), []
    for length in lengths(count, seed=seed):
        answer = round(ANSWERS * length)
        turns = {"prompt": ("user", length - answer - AROUND + 1)}
        turns |= dict.fromkeys(("chosen", "rejected"), ("assistant", answer - 1))
        rows.append({name: [_turn(role, tokens, random, words)] for name, (role, tokens) in turns.items()})
    return rows


def documents(count: int, *, tokens: int, seed: int, words: int) -> list[dict[str, Any]]:
    """A question of one word and an answer that fills what is left of so many tokens."""
    random = np.random.default_rng(seed + 3)
    parts = (("user", 1), ("assistant", tokens - AROUND - 1))
    return [{"messages": [_turn(role, length, random, words) for role, length in parts]} for _ in range(count)]


def _turn(role: str, tokens: int, random: np.random.Generator, words: int) -> dict[str, str]:
    said = random.integers(0, words, max(1, tokens)).tolist()
    return {"role": role, "content": " ".join(f"w{i}" for i in said)}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def prepared(folder: Path, *, seed: int, count: int, tiny: bool) -> dict[str, Any]:
    """A base, and files of so many conversations to learn from and of a few to validate and to judge."""
    rows = conversations(count + 16, seed=seed, words=2_000 if tiny else VOCABULARY - len(SPECIAL) - len(ROLES))
    parts = {"train": rows[:count], "validation": rows[count : count + 8], "test": rows[count + 8 :]}
    base = make_base(folder / "base", seed=seed, tiny=tiny)
    return {"base": base, "files": {part: write_rows(folder / f"{part}.jsonl", some) for part, some in parts.items()}}
