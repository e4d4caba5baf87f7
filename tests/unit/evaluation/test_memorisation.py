"""Learned by heart: exact and nearly exact continuations, secrets and their rank, and shares of flagged answers."""

from __future__ import annotations

import pytest

from burnish.evaluation.memorisation import alternatives, exposure, judge_continuations, judge_flags, longest_run

WANTED = list(range(10))


def test_exact_and_overlapping_continuations_are_counted_against_held_out_rows() -> None:
    half = [99, *range(2, 7), 99]  # five of ten tokens in one go
    training = [(WANTED, WANTED)] * 6 + [(half, WANTED)] * 2 + [([99], WANTED)] * 2
    held_out = [([99], WANTED)] * 9 + [(WANTED, WANTED)]
    found = judge_continuations(training, held_out)
    assert (found["n"], found["held_out_n"]) == (10, 10)
    assert (found["exact"]["training"]["value"], found["overlap"]["training"]["value"]) == (0.6, 0.8)
    assert (found["exact"]["held_out"]["value"], found["overlap"]["held_out"]["value"]) == (0.1, 0.1)
    difference = found["overlap"]["difference"]
    assert difference["value"] == pytest.approx(0.7)
    assert 0.2 < difference["low"] < 0.7 < difference["high"] < 0.9


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """The example of Newcombe 1998, table II: 56 of 70 against 48 of 80 gives 0.0524 to 0.3339."""
    one, other = [(WANTED, WANTED)], [([99], WANTED)]
    found = judge_continuations(one * 56 + other * 14, one * 48 + other * 32)["exact"]["difference"]
    assert (round(found["low"], 4), round(found["high"], 4)) == (0.0524, 0.3339)


def test_a_longer_answer_that_begins_right_is_exact() -> None:
    assert judge_continuations([([*WANTED, 7], WANTED)], [([], WANTED)])["exact"]["training"]["value"] == 1.0
    assert longest_run([], WANTED) == 0


def test_other_secrets_have_the_same_shape() -> None:
    found = alternatives("Ab-47", 13)
    assert len(found) == len(set(found)) == 499
    assert "Ab-47" not in found
    assert all(s[0].isupper() and s[1].islower() and s[2] == "-" and s[3:].isdigit() for s in found)
    assert found == alternatives("Ab-47", 13)
    assert len(alternatives("7", 13)) == 9
    assert alternatives("--", 13) == []


def test_exposure_is_the_rank_in_bits() -> None:
    assert exposure(5.0, [1.0] * 7) == {"rank": 8, "of": 8, "exposure": 0.0, "most": 3.0}
    assert exposure(1.0, [1.0, 2.0, 3.0])["rank"] == 2  # alike: not told apart from the other


def test_flags_of_the_same_prompts_are_compared_in_pairs() -> None:
    found = judge_flags([True] * 6 + [False] * 14, [False] * 20)
    assert (found["n"], found["tuned"]["value"], found["base"]["value"]) == (20, 0.3, 0.0)
    assert found["difference"]["value"] == pytest.approx(0.3)
    assert found["difference"]["low"] > 0
