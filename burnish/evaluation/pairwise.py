"""Which of two models answers better, from choices between their answers: win rate, length control, agreement.

Shapes: N prompts, K columns of the regression. An outcome is 1 where the tuned model's answer is preferred, -1 where
the other one is, 0 for a tie.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from burnish.data.audit import cohen_kappa
from burnish.evaluation.compare import Difference, sign_test
from burnish.evaluation.metrics.resampling import Z_95, Array, wilson_interval
from burnish.evaluation.verdict import DISCORDANT_AT_LEAST, Answer, answer_of, rows_needed

Said = Literal["first", "second", "tie", "identical", "refused"]
Outcomes = dict[str, int]  # prompt -> outcome

MINIMUM_EFFECT = 0.05  # over a win rate of one half: ten more wins than losses in a hundred prompts
EVEN = 0.5
STEEP = 4.0  # of the second column of the regression: a quarter more characters count nearly like twice as many
MOST_STEPS, SMALLEST_STEP, LARGEST_STEP = 100, 1e-10, 2.0  # of Newton's method, in logits


@dataclass(frozen=True, slots=True)
class Choice:
    """What one judge said about the two answers to one prompt.

    Attributes:
        prompt: id of the prompt.
        judge: name of the person or of the model.
        person: people see each prompt once, in a random order; models see it in both orders.
        tuned_first: whether the tuned model's answer was shown first.
        said: "identical" when nobody had to be asked, "refused" when the answer was no choice.
    """

    prompt: str
    judge: str
    person: bool
    tuned_first: bool
    said: Said

    @property
    def outcome(self) -> int:
        if self.said in ("first", "second"):
            return 1 if (self.said == "first") == self.tuned_first else -1
        return 0


@dataclass(frozen=True, slots=True)
class Rate:
    """How often the tuned model's answer is preferred, ties counted half, with its 95 % interval; 0..1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Prompts by outcome; of the ties, those where a model chose one place in both orders."""

    wins: int
    ties: int
    losses: int
    by_place: int

    @property
    def n(self) -> int:
        return self.wins + self.ties + self.losses


def latest(choices: Iterable[Choice]) -> list[Choice]:
    """Each judge's last word on each prompt; of models in each order."""
    last = {(c.person, c.judge, c.prompt, c.person or c.tuned_first or c.said == "identical"): c for c in choices}
    return list(last.values())


def outcomes_of(choices: Iterable[Choice]) -> Outcomes:
    """The outcome of each prompt that one judge has settled.

    A model prefers an answer when it does so in both orders; anything else is a tie, so that a preference for a place
    wins nothing. Prompts with an order unanswered or refused are left out.
    """
    said: defaultdict[str, list[Choice]] = defaultdict(list)
    for choice in latest(choices):
        if choice.said != "refused":
            said[choice.prompt].append(choice)
    found = {}
    for prompt, given in said.items():
        settled = given[0].person or len(given) == 2 or any(choice.said == "identical" for choice in given)
        if settled:
            outcomes = {choice.outcome for choice in given}
            found[prompt] = outcomes.pop() if len(outcomes) == 1 else 0
    return found


def settled_by_place(choices: Iterable[Choice]) -> int:
    """Prompts on which a model chose the same place in both orders."""
    places: defaultdict[str, list[Said]] = defaultdict(list)
    for choice in latest(choices):
        if not choice.person:
            places[choice.prompt].append(choice.said)
    return sum(said in (["first"] * 2, ["second"] * 2) for said in places.values())


def pooled(outcomes: Iterable[Outcomes]) -> Outcomes:
    """The majority of several people on each prompt; a tie without one."""
    total: defaultdict[str, int] = defaultdict(int)
    for one in outcomes:
        for prompt, outcome in one.items():
            total[prompt] += outcome
    return {prompt: (votes > 0) - (votes < 0) for prompt, votes in total.items()}


def win_rate(wins: int, ties: int, losses: int) -> Rate:
    """(wins + ties / 2) / n with Wilson's interval for the variance that ties leave, n > 0.

    Solves (rate - p)^2 = z^2 (p (1 - p) - t / 4) / n for p, where t is the share of ties: an outcome of 0, 1/2 or 1
    with mean p and a share t of halves has the variance p (1 - p) - t / 4. Without ties it is Wilson's own interval.

    Source: Wilson 1927, JASA 22:209-212, for the way.

    >>> rate = win_rate(8, 0, 2)
    >>> round(rate.low, 4), round(rate.high, 4)
    (0.4902, 0.9433)
    """
    n = wins + ties + losses
    rate, c = (wins + ties / 2) / n, Z_95**2 / n
    half = math.sqrt(max(0.0, (2 * rate + c) ** 2 - 4 * (1 + c) * (rate**2 + c * ties / n / 4)))
    low, high = ((2 * rate + c + sign * half) / (2 * (1 + c)) for sign in (-1, 1))
    return Rate(rate, max(0.0, min(rate, low)), min(1.0, max(rate, high)))


def length_controlled(outcomes_N: Sequence[int], lengths_N2: Sequence[tuple[int, int]]) -> Rate:
    """The win rate if both answers were equally long, by logistic regression on their lengths.

    The log-odds of a win (a tie is half of one) are an intercept, which is the quality, plus a slope for each of
    tanh(r) and tanh(4 r), where r is the log of the ratio of the two lengths; the rate is read at r = 0. AlpacaEval
    takes one tanh of the difference in characters in units of its own spread, which fits judges who go by relative
    length badly when one model's answers are several times as long as the other's. A gentle and a steep function of
    the ratio also catch a judge who goes by which answer is longer at all (benchmarks/pairwise.py).

    Half a win and half a loss for each coefficient, the log-F(1,1) prior, keep it finite when all is won. The interval
    is Student's with the sandwich variance (HC3), right for ties too, in which the prior counts as information: where
    one model always answers longer, so that length and quality cannot be told apart, the interval says so.

    What makes an answer both longer and better is taken away with the length: the rate is of two answers of one length.

    Args:
        outcomes_N: N > 0 outcomes.
        lengths_N2: characters of the tuned model's answer and of the other one.

    Source: Dubois et al. 2024, Length-Controlled AlpacaEval, arXiv:2404.04475; Greenland and Mansournia 2015,
    Statistics in Medicine 34:3133-3143 (prior); MacKinnon and White 1985, Journal of Econometrics 29:305-325 (HC3).
    """
    from scipy.special import expit, stdtrit  # inverse logit; quantile of Student's t

    ratio_N = np.log([(tuned + 1) / (other + 1) for tuned, other in lengths_N2])
    x_NK = np.stack([np.ones(len(ratio_N)), np.tanh(ratio_N), np.tanh(STEEP * ratio_N)], axis=1)
    n, k = x_NK.shape
    y_N = (np.asarray(outcomes_N) + 1) / 2
    beta_K = _fitted(np.vstack([x_NK, np.eye(k)]), np.append(y_N, np.full(k, EVEN)))
    p_N, prior_K = expit(x_NK @ beta_K), expit(beta_K)
    prior_KK = np.diag(prior_K * (1 - prior_K))
    inverse_KK = np.linalg.inv((x_NK * (p_N * (1 - p_N))[:, None]).T @ x_NK + prior_KK)
    leverage_N = np.einsum("nj,jk,nk->n", x_NK, inverse_KK, x_NK) * p_N * (1 - p_N)
    scores_NK = x_NK * ((y_N - p_N) / (1 - leverage_N))[:, None]
    variance = (inverse_KK @ (scores_NK.T @ scores_NK + prior_KK) @ inverse_KK)[0, 0]
    reach = float(stdtrit(max(1, n - k), 0.975)) * math.sqrt(variance)
    value, low, high = (float(expit(beta_K[0] + move)) for move in (0.0, -reach, reach))
    return Rate(value, low, high)


def _fitted(x_NK: Array, y_N: Array) -> Array:
    """The coefficients of a logistic regression of shares in 0..1, by Newton's method."""
    from scipy.special import expit

    beta_K = np.zeros(x_NK.shape[1])
    for _ in range(MOST_STEPS):
        p_N = expit(x_NK @ beta_K)
        hessian_KK = (x_NK * (p_N * (1 - p_N))[:, None]).T @ x_NK
        step_K = np.linalg.solve(hessian_KK, x_NK.T @ (y_N - p_N))
        largest = float(np.abs(step_K).max())
        beta_K += step_K * min(1.0, LARGEST_STEP / max(largest, SMALLEST_STEP))
        if largest < SMALLEST_STEP:
            break
    return beta_K


def judge_choices(choices: Sequence[Choice], lengths: Mapping[str, tuple[int, int]], against: str) -> dict[str, Any]:
    """What all choices between the tuned model and one arm say.

    Args:
        lengths: for every prompt the characters of the tuned model's answer and of the arm's.
        against: name of the arm.

    Returns:
        {"against", "judges", "agreement"}. A judge is all people together, or one model: {"judge", "people": names,
        "n", "wins", "ties", "losses", "by_place", "win_rate" and "length_controlled": {"value", "low", "high"} or None
        without prompts, "p_value" of the sign test, "first": {"chosen", "n", "low", "high"}, "refused", "verdict":
        {"answer", "reason"}}. Agreement of two judges on the prompts both settled: {"judges", "n", "share", "kappa"}.
    """
    by_judge: defaultdict[tuple[bool, str], list[Choice]] = defaultdict(list)
    for choice in latest(choices):
        by_judge[choice.person, choice.judge].append(choice)
    people = {name: given for (person, name), given in sorted(by_judge.items()) if person}
    models = {name: given for (person, name), given in sorted(by_judge.items()) if not person}
    judges = []
    if people:
        everybody = [choice for given in people.values() for choice in given]
        of_all = pooled(map(outcomes_of, people.values()))
        judges.append({"judge": "people", "people": list(people), **_judged(everybody, of_all, lengths, against)})
    for name, given in models.items():
        judges.append({"judge": name, "people": [], **_judged(given, outcomes_of(given), lengths, against)})
    return {"against": against, "judges": judges, "agreement": _agreement(people, models)}


def _judged(
    choices: Sequence[Choice], outcomes: Outcomes, lengths: Mapping[str, tuple[int, int]], against: str
) -> dict[str, Any]:
    wins, ties, losses = (sum(outcome == wanted for outcome in outcomes.values()) for wanted in (1, 0, -1))
    tally = Tally(wins, ties, losses, settled_by_place(choices))
    raw = controlled = None
    if outcomes:
        raw = win_rate(wins, ties, losses)
        prompts = sorted(outcomes)  # sums in one order, whenever what was said
        controlled = length_controlled([outcomes[p] for p in prompts], [lengths[p] for p in prompts])
    placed = [choice.said for choice in choices if choice.said in ("first", "second")]
    chosen = placed.count("first")
    low, high = wilson_interval(chosen, len(placed)) if placed else (None, None)
    answer, reason = verdict_of(tally, raw, controlled, against)
    return {
        "n": tally.n,
        **asdict(tally),
        "win_rate": asdict(raw) if raw else None,
        "length_controlled": asdict(controlled) if controlled else None,
        "p_value": sign_test(wins, losses),
        "first": {"chosen": chosen, "n": len(placed), "low": low, "high": high},
        "refused": sum(choice.said == "refused" for choice in choices),
        "verdict": {"answer": str(answer), "reason": reason},
    }


def verdict_of(tally: Tally, raw: Rate | None, controlled: Rate | None, against: str) -> tuple[Answer, str]:
    """The answer by the rule of every verdict (`verdict.decide`), and why.

    It rests on the length-controlled rate, because judges, people too, like length for its own sake and a tuned model
    differs from its base in length first of all; the raw rate stands beside it. The difference is that rate less one
    half and the smallest one worth having 0.05. The exact test is of the raw choices and decides nothing.

    A model that goes by the place on most prompts cannot rule a gain out: its ties say nothing, and they pull every
    rate to one half.
    """
    if raw is None or controlled is None:
        return Answer.TOO_LITTLE_DATA, "Nobody has chosen between two answers yet."
    d = Difference(controlled.value - EVEN, controlled.low - EVEN, controlled.high - EVEN, tally.n)
    told_apart = tally.wins + tally.losses
    answer = answer_of(d, tested=True, discordant=told_apart, minimum_effect=MINIMUM_EFFECT)
    if answer is Answer.BETTER:
        return answer, "Of two answers of one length, the tuned model's is preferred."
    if answer is Answer.WORSE:
        return answer, f"Of two answers of one length, that of {against} is preferred."
    if 2 * tally.by_place > tally.n:
        shown = f"on {tally.by_place:,} of {tally.n:,} prompts it chose the same place in both orders"
        return Answer.TOO_LITTLE_DATA, f"The judge goes by the place: {shown}. Ask another one."
    if answer is Answer.SAME and d.low > 0:
        return answer, f"The tuned model's answers are preferred, by less than is worth having ({MINIMUM_EFFECT:.0%})."
    if answer is Answer.SAME:
        return answer, f"A win rate of {EVEN + MINIMUM_EFFECT:.0%} or more is ruled out."
    if told_apart < DISCORDANT_AT_LEAST:
        return (
            answer,
            f"One answer is preferred on {told_apart} of {tally.n:,} prompts; it takes {DISCORDANT_AT_LEAST}.",
        )
    if raw.low > EVEN or raw.high < EVEN:
        return answer, "The preferred answers differ in length too: quality and length cannot be told apart here."
    return answer, f"About {rows_needed(d, MINIMUM_EFFECT):,} prompts would settle it; there are {tally.n:,}."


def _agreement(people: Mapping[str, Sequence[Choice]], models: Mapping[str, Sequence[Choice]]) -> list[dict[str, Any]]:
    """Two people, two models, or a model and all people, on what somebody had to be asked."""

    def asked(given: Sequence[Choice]) -> Outcomes:
        return outcomes_of(choice for choice in given if choice.said != "identical")

    of_people = {name: asked(given) for name, given in people.items()}
    of_models = {name: asked(given) for name, given in models.items()}
    pairs = [*itertools.combinations(of_people.items(), 2), *itertools.combinations(of_models.items(), 2)]
    if people:
        pairs += [((name, outcomes), ("people", pooled(of_people.values()))) for name, outcomes in of_models.items()]
    found = []
    for (one, first), (other, second) in pairs:
        both = [(str(first[prompt]), str(second[prompt])) for prompt in first if prompt in second]
        if both:
            share = sum(a == b for a, b in both) / len(both)
            found.append({"judges": [one, other], "n": len(both), "share": share, "kappa": cohen_kappa(both)})
    return found
