"""Every answer, at its border, and what it advises."""

from __future__ import annotations

import dataclasses

import pytest

from burnish.evaluation.compare import Difference
from burnish.evaluation.verdict import Answer, Evidence, Verdict, decide

EVIDENCE = Evidence(
    metric="accuracy",
    against="base-probe",
    differences={},
    p_value=0.001,
    test="McNemar",
    discordant=60,
    minimum_effect=0.01,
    method="lora",
    weakest_class=("re\nfund", 0.714),
)


def verdict(
    value: float,
    low: float,
    high: float,
    *,
    n: int = 1000,
    others: dict[str, Difference] | None = None,
    **changes: object,
) -> Verdict:
    """The verdict of a difference from the strongest arm; cheaper arms are far behind unless `others` says so."""
    evidence = dataclasses.replace(EVIDENCE, **changes)  # type: ignore[arg-type]
    far = {name: Difference(0.2, 0.15, 0.25, n) for name in ("majority", "tf-idf", "base-centroid", "base-probe")}
    differences = {**far, **(others or {}), evidence.against: Difference(value, low, high, n)}
    return decide(dataclasses.replace(evidence, differences=differences))


@pytest.mark.parametrize(
    ("value", "low", "high", "answer"),
    [
        (0.020, 0.001, 0.039, Answer.BETTER),
        (0.010, 0.001, 0.019, Answer.BETTER),  # the smallest difference worth having is worth having
        (0.009, 0.001, 0.017, Answer.SAME),  # real, but not worth having
        (0.000, -0.009, 0.009, Answer.SAME),  # a gain of 0.01 is ruled out
        (-0.005, -0.009, -0.001, Answer.SAME),  # really worse, but not by enough to matter
        (-0.020, -0.039, -0.001, Answer.WORSE),
        (0.005, -0.005, 0.015, Answer.TOO_LITTLE_DATA),  # neither 0 nor a gain of 0.01 is ruled out
        (0.020, 0.000, 0.040, Answer.TOO_LITTLE_DATA),  # 0 itself is in the interval
        (0.000, -0.010, 0.010, Answer.TOO_LITTLE_DATA),  # a gain of exactly 0.01 is not ruled out
    ],
)
def test_the_answer_follows_the_interval(value: float, low: float, high: float, answer: Answer) -> None:
    assert verdict(value, low, high).answer is answer


def test_the_test_of_the_metric_has_to_agree() -> None:
    assert verdict(0.02, 0.001, 0.039, p_value=0.05).answer is Answer.TOO_LITTLE_DATA
    assert verdict(0.02, 0.001, 0.039, p_value=0.049).answer is Answer.BETTER
    assert verdict(0.02, 0.001, 0.039, p_value=0.4, metric="macro-f1").answer is Answer.TOO_LITTLE_DATA


@pytest.mark.parametrize("sign", [1, -1])
def test_five_discordant_rows_are_never_enough(sign: int) -> None:
    low, high = sorted((sign * 0.001, sign * 0.039))
    few = verdict(sign * 0.02, low, high, metric="macro-f1", discordant=5, n=100)
    assert few.answer is Answer.TOO_LITTLE_DATA


def test_agreement_on_few_rows_rules_nothing_out() -> None:
    assert verdict(0.0, 0.0, 0.0, n=299, p_value=1.0, discordant=0).answer is Answer.TOO_LITTLE_DATA
    assert verdict(0.0, 0.0, 0.0, n=300, p_value=1.0, discordant=0).answer is Answer.SAME


def test_the_numbers_are_passed_on() -> None:
    found = verdict(0.02, 0.001, 0.039).as_dict()
    assert found.pop("advice")
    assert found == {
        "answer": "better",
        "metric": "accuracy",
        "against": "base-probe",
        "difference": 0.02,
        "low": 0.001,
        "high": 0.039,
        "p_value": 0.001,
        "test": "McNemar",
        "n": 1000,
        "minimum_effect": 0.01,
    }
    assert type(found["answer"]) is str


def test_better_names_the_weakest_class_with_its_text_escaped() -> None:
    advice = verdict(0.02, 0.001, 0.039).advice
    assert advice.startswith('Use the tuned model. Its weakest class is "re\\nfund" (F1 71.4%)')


@pytest.mark.parametrize(
    ("arm", "advice"),
    [
        ("majority", "Do not fine-tune on this data"),
        ("tf-idf", "Do not fine-tune: TF-IDF"),
        ("base-centroid", "Write `method: head`"),
        ("base-probe", "Write `method: head`"),
        ("of-a-plugin", "Use of-a-plugin"),
    ],
)
def test_same_says_what_to_use_instead(arm: str, advice: str) -> None:
    assert verdict(0.0, -0.009, 0.009, against=arm).advice.startswith(advice)


def test_the_cheapest_arm_that_is_nearly_as_good_is_the_advice() -> None:
    nearly = {"tf-idf": Difference(0.009, 0.002, 0.016, 1000)}  # really behind, but by less than is worth having
    assert "TF-IDF with a linear model is nearly as good" in verdict(0.0, -0.009, 0.009, others=nearly).advice
    within = {"majority": Difference(0.03, 0.0, 0.06, 1000)}  # not shown to be behind
    assert "most frequent label is as good" in verdict(0.0, -0.009, 0.009, others=within).advice


def test_worse_says_so_first() -> None:
    advice = verdict(-0.03, -0.05, -0.01).advice
    assert advice.startswith("Do not use the tuned model. Write `method: head`: a linear classifier")
    assert "is better" in advice


def test_worse_advises_the_best_arm_and_not_one_that_is_as_bad() -> None:
    as_bad = {"majority": Difference(0.0, -0.02, 0.02, 1000)}
    assert "linear classifier on the frozen base model is better" in verdict(-0.4, -0.5, -0.3, others=as_bad).advice
    as_strong = {"tf-idf": Difference(-0.395, -0.5, -0.3, 1000)}
    assert "Do not fine-tune: TF-IDF" in verdict(-0.4, -0.5, -0.3, others=as_strong).advice


def test_a_head_against_the_probe_is_said_to_be_the_same_thing() -> None:
    found = verdict(0.0, -0.002, 0.002, method="head")
    assert found.answer is Answer.SAME
    assert "which is what base-probe is" in found.advice
    assert "`method: lora`" in found.advice


@pytest.mark.parametrize(
    ("low", "high", "n", "rows"),
    [
        (-0.02, 0.06, 200, "3,200"),  # half-width 0.04, four times too wide: 16 x 200
        (-0.013, 0.0401, 500, "3,600"),  # 3,525.0 rounded up to two digits
        (0.0, 0.0, 20, "300"),  # perfect agreement still needs the rule of three
        (-0.01, 0.01, 1000, "2,000"),  # just wide enough to miss: at least twice the rows
    ],
)
def test_too_little_data_says_roughly_how_many_rows(low: float, high: float, n: int, rows: str) -> None:
    found = verdict((low + high) / 2, low, high, n=n, p_value=0.5)
    assert found.answer is Answer.TOO_LITTLE_DATA
    assert f"About {rows} test rows would settle it; there are {n:,}." in found.advice
    ahead = "which needs no fine-tuning, is at least as good: use it until then"
    assert (ahead in found.advice) is (low + high <= 0)
