"""Corpus chrF and BLEU against sacrebleu, ROUGE-L against rouge-score, on random texts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from burnish.evaluation.metrics.texts import Bleu, CorpusChrF, RougeL

# rouge-score knows no letters beyond a to z
PLAIN = ["the", "cat", "sat", "on", "a", "mat,", "dog.", "runs", "1,000", "To-day"]
WORDS = [*PLAIN, "3.5", "&", '"ok"', "¿qué", "día?", "a-b", "it's", "&quot;", "..."]


def text(draw: random.Random, words: list[str], most: int = 9) -> str:
    return " ".join(draw.choice(words) for _ in range(draw.randint(1, most)))


@pytest.mark.parametrize("seed", range(40))
def test_corpus_scores(seed: int) -> None:
    draw = random.Random(seed)
    count = draw.randint(1, 6)
    said = [text(draw, WORDS) for _ in range(count)]
    references = [tuple(text(draw, WORDS) for _ in range(draw.choice([1, 1, 3]))) for _ in range(count)]
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(max(map(len, references)))]
    once = np.ones((1, count))
    bleu = sacrebleu.corpus_bleu(said, streams, force=True).score / 100
    chrf = sacrebleu.corpus_chrf(said, streams).score / 100
    assert Bleu().weighted(references, said, once)[0] == pytest.approx(bleu, abs=1e-9)
    assert CorpusChrF().weighted(references, said, once)[0] == pytest.approx(chrf, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_rouge_l(seed: int) -> None:
    draw = random.Random(seed)
    references = tuple(text(draw, PLAIN, 12) for _ in range(draw.choice([1, 2])))
    said = text(draw, PLAIN, 12)
    wanted = rouge_scorer.RougeScorer(["rougeL"]).score_multi(list(references), said)["rougeL"].fmeasure
    assert RougeL().score(references, said) == pytest.approx(wanted, abs=1e-9)
