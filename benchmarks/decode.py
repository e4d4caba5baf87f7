"""How fast does a language model write, against transformers' `generate`, and is it the same text?

    python benchmarks/decode.py --pairs 5

The Llama of 71 million weights of conversations.py, prompts of 64 tokens and 48 new ones, the likeliest each time: one
request at once, which is what a single user waits for, and eight at once. burnish decodes as `burnish serve`,
`burnish chat` and the evaluation do: in bf16 where the processor multiplies it, and in float32. Peers:

    generate-fp32   transformers as it comes: weights in float32, its own cache
    generate-bf16   the same with weights in bf16

Seconds are those of whole answers after two to warm up, prompts included. `same text` is the share of the new tokens
that are those of generate-fp32, up to the first that differs. Random weights find many words nearly equally likely, so
the same is asked of trained ones, where they are at hand (stories260k, twelve beginnings gone on with for 96 tokens),
and also which share of the tokens is the likeliest behind the same words before (`same choice`): one word that differs
does not count for all that follow.

Prints a table and writes benchmarks/results/decode.json.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from conversations import VOCABULARY, make_base
from measuring import (
    ROOT,
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
BATCHES = (1, 8)  # requests at once
TRAINED = ROOT.parent / "shared" / "models" / "stories260k"
TEXTS = ("said", "told")  # figures that are tokens: of random and of trained weights
STARTS = ("Once upon a time", "Lily and Tom", "The dog was", "Mom said", "A bird flew", "The old man", "Ben had a red")
STARTS += ("It was a sunny day", "Max found a", "We like", "Sara liked to", "There was a big")
CONTINUED = 96  # tokens that the trained one goes on with

Write = Callable[[Sequence[Sequence[int]], int], list[list[int]]]  # prompts, new tokens of each -> those
Choose = Callable[[Sequence[int]], list[int]]  # tokens -> the likeliest behind each


def burnish_arm(place: Place, *, base: str, words: int, new: int, answers: int, precision: str) -> Figures:
    import torch

    torch.set_num_threads(place.threads)
    return figures(partial(_burnish, precision=precision), base, words, new, answers)


def _burnish(base: str, precision: str) -> tuple[Write, Choose]:
    import torch

    from burnish.engine.precision import choose_precision
    from burnish.model.find import find_base
    from burnish.model.language import load_language_model
    from burnish.model.load import load_tokenizer
    from burnish.model.options import ModelOptions
    from burnish.serving.decoding import Asked, Decoder, Written
    from burnish.serving.lanes import Together
    from burnish.serving.slots import Pass, Piece, SlotCache
    from burnish.serving.waiting import Ticket

    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=Path("absent"))
    chosen = choose_precision(precision, torch.device("cpu"))
    decoder = Decoder(load_language_model(found).eval(), load_tokenizer(found.folder), precision=chosen)
    lanes = decoder._lanes
    assert isinstance(lanes, Together)

    def write(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
        pieces: list[list[Written]] = [[] for _ in prompts]
        for prompt, told in zip(prompts, pieces, strict=True):
            asked = Asked(ids=prompt, ends=frozenset(), max_new_tokens=new)
            decoder.waiting.join(Ticket(asked, lambda piece, _, told=told: told.append(piece), _failed))
        while decoder.step():
            pass
        return [[chosen.token for piece in told for chosen in piece.chosen] for told in pieces]

    def choose(tokens: Sequence[int]) -> list[int]:
        cache, places = SlotCache(torch.device("cpu"), len(tokens)), range(len(tokens))
        cache.reserve(1, len(tokens))
        with torch.inference_mode():
            computed = Pass(cache, [], [Piece(0, len(tokens), 0, 0)])
            likeliest: list[int] = lanes.forward(tokens, places, computed, places).argmax(dim=-1).tolist()
        return likeliest

    return write, choose


def _failed(error: Exception) -> None:
    raise error


def generate_arm(place: Place, *, base: str, words: int, new: int, answers: int, dtype: str) -> Figures:
    import torch

    torch.set_num_threads(place.threads)
    return figures(partial(_generate, dtype=dtype), base, words, new, answers)


def _generate(base: str, dtype: str) -> tuple[Write, Choose]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()

    def write(prompts: Sequence[Sequence[int]], new: int) -> list[list[int]]:
        given = torch.tensor(prompts)
        chosen: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False}
        with torch.inference_mode():
            out = model.generate(given, attention_mask=torch.ones_like(given), **chosen)
        said: list[list[int]] = out[:, given.shape[1] :].tolist()
        return said

    def choose(tokens: Sequence[int]) -> list[int]:
        with torch.inference_mode():
            likeliest: list[int] = model(input_ids=torch.tensor([list(tokens)])).logits[0].argmax(dim=-1).tolist()
        return likeliest

    return write, choose


def figures(open_base: Callable[[str], tuple[Write, Choose]], base: str, words: int, new: int, answers: int) -> Figures:
    """New tokens in a second, one request at once and several, and which tokens they were."""
    write, _ = open_base(base)
    found: Figures = {"said": []}
    for batch in BATCHES:
        random = np.random.default_rng(batch)
        prompts = random.integers(8, words, (WARM_UP + answers, batch, PROMPT)).tolist()
        said = [write(some, new) for some in prompts[:WARM_UP]]
        started = time.monotonic()
        said += [write(some, new) for some in prompts[WARM_UP:]]
        seconds = time.monotonic() - started
        if any(len(tokens) != new for some in said for tokens in some):
            raise RuntimeError(f"{new} tokens of each answer were asked for, and not all have them")
        found[f"tokens_per_second_{batch}"] = batch * answers * new / seconds
        found["said"] += [tokens for some in said for tokens in some]
    if TRAINED.is_dir():
        found |= of_trained(*open_base(str(TRAINED)))
    return found


def of_trained(write: Write, choose: Choose) -> Figures:
    """What it writes behind some beginnings, and its choices behind what generate-fp32 writes."""
    from burnish.model.load import load_tokenizer

    tokenizer = load_tokenizer(TRAINED)
    prompts = [tokenizer.encode(start).ids for start in STARTS]
    reference, _ = _generate(str(TRAINED), "float32")
    choices = []
    for prompt in prompts:
        (text,) = reference([prompt], CONTINUED)
        chosen = choose([*prompt, *text])[len(prompt) - 1 : -1]
        choices += [one == other for one, other in zip(chosen, text, strict=True)]
    told = [write([prompt], CONTINUED)[0] for prompt in prompts]
    return {"told": told, "same_choice": sum(choices) / len(choices)}


ARMS: dict[str, Arm] = {
    "burnish": partial(burnish_arm, precision="auto"),
    "burnish-fp32": partial(burnish_arm, precision="fp32"),
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
    """The table, and the ratios of burnish to the peers, round by round."""
    ratios: dict[str, Any] = {}
    lines, reference = [], measured["generate-fp32"][0]
    for arm in measured:
        first = measured[arm][0]
        cells = [arm, f"{same_tokens(first['said'], reference['said']):.1%}"]
        trained = "told" in first
        cells.append(f"{same_tokens(first['told'], reference['told']):.1%}" if trained else "not at hand")
        cells.append(f"{first['same_choice']:.2%}" if trained else "not at hand")
        for batch in BATCHES:
            name = f"tokens_per_second_{batch}"
            cells.append(f"{median_of(measured, arm, name):.1f}")
            for own in ("burnish", "burnish-fp32"):
                known = f"{own} / {arm}, {batch} at once"
                if not arm.startswith("burnish"):
                    ratios[known] = quotients(measured, own, arm, name)
                cells.append(with_range(ratios[known]) if known in ratios else "")
        lines.append(cells)
    headings = ["arm", "same text", "trained: same text", "trained: same choice"]
    for batch in BATCHES:
        headings += [f"tokens/s, {batch} at once", "burnish is faster by", "in float32 by"]
    return table(headings, lines), ratios


def without_texts(measured: Measured) -> Measured:
    """The figures of each round with the share of the same text in place of the texts."""
    reference, kept = measured["generate-fp32"][0], dict[str, list[Figures]]()
    for arm, rounds in measured.items():
        texts = {field: [each.get(field) for each in rounds] for field in TEXTS}
        kept[arm] = [
            {name: value for name, value in figures.items() if name not in TEXTS}
            | {f"same_{name}": same_tokens(found[i], reference[name]) for name, found in texts.items() if found[i]}
            for i, figures in enumerate(rounds)
        ]
    return kept


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
    report(
        __file__, options, shown, {"new": new, "prompt": PROMPT, "measured": without_texts(measured), "ratios": ratios}
    )


if __name__ == "__main__":
    main()
