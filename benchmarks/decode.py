"""How fast does a language model write one answer, against transformers' `generate`?

    python benchmarks/decode.py --pairs 5

The Llama of 71 million weights of conversations.py, a prompt of 64 tokens and 48 new ones, the likeliest each time, one
request at once: what a single user waits for. burnish decodes as `burnish serve` and `burnish chat` do. Peers:

    generate-fp32   transformers as it comes: weights in float32, its own cache
    generate-bf16   the same with weights in bf16

Seconds are those of a whole answer after two to warm up, prompt included. `same tokens` is the share of the new tokens
that are those of generate-fp32, up to the first that differs: the weights are random, many words are nearly equally
likely, and in bf16 one of them may win where in float32 the other does.

Prints a table and writes benchmarks/results/decode.json.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from conversations import VOCABULARY, make_base
from measuring import (
    Arm,
    Figures,
    Measured,
    Place,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    report,
    run_arm,
    table,
    take_turns,
    with_range,
)

PROMPT, WARM_UP = 64, 2  # tokens; answers that are not counted


def burnish_arm(place: Place, *, base: str, words: int, new: int, answers: int) -> Figures:
    import torch

    from burnish.model.language import load_language_model
    from burnish.model.load import find_base, load_tokenizer
    from burnish.model.options import ModelOptions
    from burnish.serving.decoding import Asked, Decoder, Written
    from burnish.serving.waiting import Ticket

    torch.set_num_threads(place.threads)
    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=Path("absent"))
    decoder = Decoder(load_language_model(found).eval(), load_tokenizer(found.folder))

    def written(ids: list[int]) -> list[int]:
        pieces: list[Written] = []
        asked = Asked(ids=ids, ends=frozenset(), max_new_tokens=new)
        decoder.waiting.join(Ticket(asked, lambda piece, _: pieces.append(piece), _failed, deadline=None))
        while decoder.step():
            pass
        return [chosen.token for piece in pieces for chosen in piece.chosen]

    return timed(written, words, new, answers)


def _failed(error: Exception) -> None:
    raise error


def generate_arm(place: Place, *, base: str, words: int, new: int, answers: int, dtype: str) -> Figures:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(place.threads)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
    chosen: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False}

    def written(ids: list[int]) -> list[int]:
        given = torch.tensor([ids])
        with torch.inference_mode():
            out = model.generate(given, attention_mask=torch.ones_like(given), **chosen)
        said: list[int] = out[0, len(ids) :].tolist()
        return said

    return timed(written, words, new, answers)


def timed(written: Callable[[list[int]], list[int]], words: int, new: int, answers: int) -> Figures:
    """New tokens in a second over some answers, and their tokens."""
    random = np.random.default_rng(0)
    prompts = [random.integers(8, words, PROMPT).tolist() for _ in range(WARM_UP + answers)]
    said = [written(prompt) for prompt in prompts[:WARM_UP]]
    started = time.monotonic()
    said += [written(prompt) for prompt in prompts[WARM_UP:]]
    seconds = time.monotonic() - started
    if any(len(tokens) != new for tokens in said):
        raise RuntimeError(f"answers of {[len(tokens) for tokens in said]} tokens, {new} each were asked for")
    return {"tokens_per_second": answers * new / seconds, "said": said}


ARMS: dict[str, Arm] = {
    "burnish": burnish_arm,
    "generate-fp32": partial(generate_arm, dtype="float32"),
    "generate-bf16": partial(generate_arm, dtype="bfloat16"),
}


def same_tokens(one: list[list[int]], other: list[list[int]]) -> float:
    """Share of the tokens before the first that differs."""
    alike = [
        next((i for i, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1]), len(a))
        for a, b in zip(one, other, strict=True)
    ]
    return sum(alike) / sum(map(len, one))


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    """The table, and burnish's ratios to each peer, round by round."""
    ratios: dict[str, Any] = {}
    lines = []
    for arm in measured:
        alike = same_tokens(measured[arm][0]["said"], measured["generate-fp32"][0]["said"])
        cells = [arm, f"{median_of(measured, arm, 'tokens_per_second'):.1f}", f"{alike:.0%}", ""]
        if arm != "burnish":
            ratios[arm] = quotients(measured, "burnish", arm, "tokens_per_second")
            cells[3] = with_range(ratios[arm])
        lines.append(cells)
    return table(["arm", "tokens/s", "same tokens", "burnish is faster by"], lines), ratios


def main() -> None:
    described = parser(str(__doc__), pairs=5)
    described.add_argument("--new", type=int, default=48, help="tokens of an answer")
    described.add_argument("--answers", type=int, default=4, help="that are counted")
    options = parsed(described)
    if answer(ARMS, options):
        return
    words = 2_000 if options.quick else VOCABULARY - 8
    new, answers = (6, 1) if options.quick else (options.new, options.answers)
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "base", seed=options.seed, tiny=options.quick)
        given = {"base": base, "words": words, "new": new, "answers": answers}
        arms = {arm: partial(run_arm, __file__, arm, given, threads=options.threads) for arm in ARMS}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    report(__file__, options, shown, {"new": new, "prompt": PROMPT, "measured": measured, "ratios": ratios})


if __name__ == "__main__":
    main()
