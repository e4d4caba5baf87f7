"""What was forgotten: each kind of probes for itself, by more than is tolerated and by more than chance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from burnish.evaluation.forgetting import ALL, ProbeScore, gate_of, judge_forgetting, sign_flip_test, worst_rise
from burnish.evaluation.gates import Gate
from burnish.evaluation.probes import Probe
from burnish.types import Origin

VOCABULARY = 512  # ln 512 = 6.24 nats


def probes(**kinds: int) -> list[Probe]:
    names = [kind for kind, count in kinds.items() for _ in range(count)]
    return [Probe(kind, "", ("text",), 0, Origin("probes.jsonl", i + 1)) for i, kind in enumerate(names)]


def scores(*losses: float) -> list[ProbeScore]:
    return [ProbeScore(loss, None) for loss in losses]


def gate(asked: Sequence[Probe], base: Sequence[ProbeScore], tuned: Sequence[ProbeScore]) -> Gate:
    found = judge_forgetting(asked, base, tuned, tolerance=0.1, vocabulary=VOCABULARY, resamples=200, seed=0)
    return gate_of(found, "the gain is +1")


@pytest.mark.parametrize("n", [3, 9])
def test_the_sign_flip_test_is_the_one_of_all_ways_to_flip(n: int) -> None:
    rises = np.random.default_rng(n).normal(0.3, 1, n)
    ways = [np.dot(signs, rises) >= rises.sum() - 1e-12 for signs in itertools.product((1, -1), repeat=n)]
    assert sign_flip_test(list(rises), seed=0) == pytest.approx(np.mean(ways))


def test_of_many_probes_the_flips_are_drawn() -> None:
    rises = list(np.random.default_rng(0).normal(0.2, 1, 40))
    found = sign_flip_test(rises, seed=0)
    assert found == sign_flip_test(rises, seed=0)
    assert found == pytest.approx(sign_flip_test(rises, seed=1), abs=0.01)
    assert sign_flip_test([1.0] * 40, seed=0) == pytest.approx(1 / 20_001), "never zero: the rises are a way themselves"


def test_an_ability_lost_is_not_made_up_by_another_one_won() -> None:
    """Stories rise from 2 to 2.8, verse falls from 4 to 3: together the loss falls."""
    asked = probes(story=10, verse=10)
    base, tuned = scores(*[2.0] * 10, *[4.0] * 10), scores(*[2.8] * 10, *[3.0] * 10)
    found = judge_forgetting(asked, base, tuned, tolerance=0.1, vocabulary=VOCABULARY, resamples=200, seed=0)
    assert list(found["kinds"]) == [ALL, "story", "verse"]
    assert [kind["lost"] for kind in found["kinds"].values()] == [False, True, False]
    story = found["kinds"]["story"]
    assert (story["n"], story["base_loss"], story["tolerated"]) == (10, 2.0, pytest.approx(0.3))
    assert (story["tuned_loss"], story["rise"]) == (pytest.approx(2.8), pytest.approx(0.4))
    assert story["p_value"] == 1 / 1024
    shut = gate(asked, base, tuned)
    assert not shut.passed
    assert shut.reason == (
        'The loss on the 10 probes "story" changed by +40.0 % [+40.0, +40.0]; 30 % are tolerated, and the gain is +1.'
    )
    assert "training.keep_ability" in shut.advice
    assert worst_rise(asked, base, tuned, vocabulary=VOCABULARY) == pytest.approx(0.4 / 3)
    passed = gate(asked, base, scores(*[2.5] * 10, *[3.0] * 10))
    assert passed.passed, "25 % on one kind are within three times the tolerance"
    assert [row["line"] for row in found["lost_most"]] == list(range(1, 9))


def test_a_rise_within_the_tolerance_is_let_through() -> None:
    passed = gate(probes(story=20), scores(*[2.0] * 20), scores(*[2.19] * 20))
    assert (passed.passed, passed.advice) == (True, "")
    assert passed.reason.startswith("The loss on all 20 probes changed by +9.5 %")
    assert passed.figures["rise"] == pytest.approx(0.095)


def test_a_rise_that_may_be_chance_is_let_through() -> None:
    """Plus 15 % on the mean, which one probe out of ten makes."""
    base = scores(*[2.0] * 10)
    assert gate(probes(story=10), base, scores(*[2.0] * 9, 5.0)).passed
    assert not gate(probes(story=10), base, scores(*[2.3] * 10)).passed


def test_a_rise_that_is_only_likely_beyond_the_tolerance_is_let_through() -> None:
    """Every loss rises, in the mean by 11 %: certainly a rise, but by more than 10 % in half of the probes only."""
    tuned = scores(*[2.0 * (1.11 + 0.05 * (-1) ** i) for i in range(20)])
    found = judge_forgetting(
        probes(story=20), scores(*[2.0] * 20), tuned, tolerance=0.1, vocabulary=VOCABULARY, resamples=200, seed=0
    )
    assert found["kinds"][ALL]["low"] > 0
    assert found["kinds"][ALL]["rise"] > 0.1
    assert gate_of(found, "the gain is +1").passed


def test_what_the_base_does_not_know_cannot_be_forgotten() -> None:
    asked = probes(story=10)
    passed = gate(asked, scores(*[5.9] * 10), scores(*[9.0] * 10))
    assert passed.passed
    assert "hardly better than chance (5.90 nats per token)" in passed.reason
    assert "evaluation.forgetting.probes" in passed.reason
    assert worst_rise(asked, scores(*[5.9] * 10), scores(*[9.0] * 10), vocabulary=VOCABULARY) == 0.0


def test_right_choices_that_got_lost_shut_the_gate_too() -> None:
    asked = [Probe("facts", "", ("a", "b"), 0, Origin("f", i)) for i in range(20)]
    base, tuned = [ProbeScore(2.0, True)] * 20, [ProbeScore(2.0, i < 8) for i in range(20)]
    found = judge_forgetting(asked, base, tuned, tolerance=0.1, vocabulary=VOCABULARY, resamples=500, seed=0)
    choices = found["choices"]
    assert (choices["base_accuracy"], choices["tuned_accuracy"]) == (1.0, 0.4)
    assert choices["difference"]["value"] == pytest.approx(-0.6)
    assert choices["p_value"] == pytest.approx(2 / 2**12)
    shut = gate_of(found, "the gain is +1")
    assert not shut.passed
    assert "right choices went from 100 % to 40 % of 20" in shut.reason
    few = [ProbeScore(2.0, i < 15) for i in range(20)]  # five to none: p = 0.0625
    found = judge_forgetting(asked, base, few, tolerance=0.1, vocabulary=VOCABULARY, resamples=500, seed=0)
    assert gate_of(found, "the gain is +1").passed
