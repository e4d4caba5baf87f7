"""How often is a verdict wrong, how often does an interval miss the truth, and what does a verdict find?

    python benchmarks/verdict_simulation.py [--trials N] [--kind NAME]

Test sets are drawn from worlds whose truth is known: two models that answer the same rows, and differ on a share of
them. Each test set is judged by the code that judges a run: the paired interval, the test of the metric and the rule of
the verdict, with the default minimum effect (0.01) and with nearly none. For each world:

- better: verdicts "better", at both minimum effects; at most 5 % where there is no true difference
- covers: 95 % intervals, of the difference and of one model alone, that hold the truth; 93 to 97 %

and of worlds with a true gain of 5 points, "better" is the power: at least 90 % at n = 1,000 and 20 % discordant rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, table
from scipy.stats import betabinom

from burnish.evaluation.compare import Difference, paired_gain, row_wins, sign_test, significance
from burnish.evaluation.metrics.answers import MeanScore
from burnish.evaluation.metrics.classification import MacroF1
from burnish.evaluation.metrics.regression import MeanAbsoluteError
from burnish.evaluation.metrics.resampling import measured, tango_interval, wilson_interval
from burnish.evaluation.options import EvaluationOptions
from burnish.evaluation.verdict import SIGNIFICANT, Answer, answer_of
from burnish.lifecycle.environment import describe_environment

KINDS = ("accuracy", "macro-f1", "score", "mae")
LEAST, DEFAULT = 1e-6, EvaluationOptions().minimum_effect
RESAMPLES = 300  # a run takes 2,000: a fraction of the work, and intervals that are a trifle less exact
LEVELS, WORST = 6, 12  # scores 0, 0.2 ... 1; errors 0 ... 12
Outcome = dict[str, float]


@dataclass(frozen=True, slots=True)
class World:
    """Two models on rows of one kind.

    Attributes:
        kind: the metric they are judged by.
        n: rows of a test set.
        quality: mean accuracy or score of the two, 0..1; of errors 1 less a tenth of their scale.
        discordant: share of the rows that only one is right on, or that both answer independently of each other.
        gain: how much better the first is in truth, in accuracy or score.
    """

    kind: str
    n: int
    quality: float
    discordant: float
    gain: float = 0.0

    @property
    def possible(self) -> bool:
        wrong_alone = (self.discordant + self.gain) / 2
        return self.gain < self.discordant and max(wrong_alone, self.discordant / 2) <= min(1 - self.quality, 1)


class Score(MeanScore):
    """The mean of scores that are given, as chrF is of those of texts."""

    name = "chrf"

    def score(self, reference: Any, prediction: Any) -> float:
        return float(prediction)


def grid() -> Iterator[World]:
    """Every world that can be: of accuracy many, as they cost little."""
    for quality in (0.6, 0.7, 0.8, 0.9, 0.95):
        for n in (200, 500, 1000, 3000):
            for discordant in (0.05, 0.1, 0.2, 0.4):
                yield from (World("accuracy", n, quality, discordant, gain) for gain in (0.0, 0.02, 0.05))
    for kind in ("macro-f1", "score", "mae"):
        for quality in (0.6, 0.8, 0.95):
            yield from (World(kind, n, quality, 0.1) for n in (200, 1000, 3000))
        if kind != "mae":
            yield World(kind, 1000, 0.8, 0.2, 0.05)


def of_shares(world: World, rng: np.random.Generator, trials: int) -> Iterator[Outcome]:
    """Trials of accuracy, which is decided by four counts."""
    only_a, only_b = (world.discordant + world.gain) / 2, (world.discordant - world.gain) / 2
    both = world.quality - world.discordant / 2
    counts = rng.multinomial(world.n, [only_a, only_b, both, 1 - both - world.discordant], size=trials)
    lows, highs = tango_interval(counts[:, 0], counts[:, 1], world.n)
    for (wins, losses, shared, _), low, high in zip(counts.tolist(), lows.tolist(), highs.tolist(), strict=True):
        d = Difference((wins - losses) / world.n, low, high, world.n)
        own = wilson_interval(wins + shared, world.n)
        yield outcome(d, sign_test(wins, losses), wins + losses, world.gain, own, both + only_a)


def of_rows(world: World, rng: np.random.Generator, trials: int) -> Iterator[Outcome]:
    """Trials of a metric that is no share of right rows."""
    metric, rows, shares = population(world)
    columns = [list(column) for column in zip(*rows, strict=True)]
    many = np.round(shares * 1e12)[None]  # the metric of a test set without end
    true_a, true_b = (float(metric.weighted(columns[0], column, many)[0]) for column in columns[1:])
    gain = true_a - true_b if metric.higher_is_better else true_b - true_a
    won = np.array([sum(row_wins(metric, *([value] for value in row))) for row in rows])
    for seed in range(trials):
        counts = rng.multinomial(world.n, shares)
        truth, a, b = ([x for x, count in zip(column, counts, strict=True) for _ in range(count)] for column in columns)
        drawn = {"resamples": RESAMPLES, "seed": seed}
        p_value, _ = significance(metric, truth, a, b, **drawn)
        own = measured(metric, truth, a)
        assert own.low is not None
        assert own.high is not None
        told_apart = int(counts @ won)
        d = paired_gain(metric, truth, a, b, **drawn)
        yield outcome(d, p_value, told_apart, gain, (own.low, own.high), true_a)


def outcome(
    d: Difference, p_value: float, told_apart: int, gain: float, own: tuple[float, float], truth: float
) -> Outcome:
    tested = p_value < SIGNIFICANT
    answers = [answer_of(d, tested=tested, discordant=told_apart, minimum_effect=e) for e in (DEFAULT, LEAST)]
    rounding = 1e-12
    return {
        "better": answers[0] is Answer.BETTER,
        "better_least": answers[1] is Answer.BETTER,
        "worse_least": answers[1] is Answer.WORSE,
        "covers": d.low - rounding <= gain <= d.high + rounding,
        "covers_own": own[0] - rounding <= truth <= own[1] + rounding,
        "width": d.high - d.low,
    }


def population(world: World) -> tuple[Any, list[tuple[Any, Any, Any]], np.ndarray[Any, Any]]:
    """The metric, every kind of row (reference, first answer, second answer), and the share of each."""
    if world.kind == "macro-f1":
        return MacroF1(["a", "b"]), *two_classes(world)
    if world.kind == "score":
        rare, places = (0.5, np.arange(LEVELS) / (LEVELS - 1))

        def spread(mean: float) -> np.ndarray[Any, Any]:
            return np.asarray(betabinom(LEVELS - 1, mean / rare, (1 - mean) / rare).pmf(np.arange(LEVELS)))

        shift = world.gain / world.discordant / 2
        return Score(), *together(world, places, spread(world.quality), spread(world.quality + shift),
                                  spread(world.quality - shift))  # fmt: skip
    skewed = np.exp(-np.arange(WORST + 1) / (10 * (1 - world.quality)))
    skewed /= skewed.sum()
    return MeanAbsoluteError(), *together(world, np.arange(WORST + 1.0), skewed, skewed, skewed)


def two_classes(world: World) -> tuple[list[tuple[Any, Any, Any]], np.ndarray[Any, Any]]:
    """Three rows of class a to one of class b, both as hard."""
    only_a, only_b = (world.discordant + world.gain) / 2, (world.discordant - world.gain) / 2
    both = world.quality - world.discordant / 2
    rows, shares = [], []
    for label, other, share in (("a", "b", 0.75), ("b", "a", 0.25)):
        rows += [(label, label, label), (label, label, other), (label, other, label), (label, other, other)]
        shares += [share * s for s in (both, only_a, only_b, 1 - both - only_a - only_b)]
    return rows, np.array(shares)


def together(
    world: World, values: np.ndarray[Any, Any], alike: Any, first: Any, second: Any
) -> tuple[list[tuple[Any, Any, Any]], np.ndarray[Any, Any]]:
    """Rows both answer alike, spread as `alike`, and discordant ones, each answered independently."""
    pairs = world.discordant * np.outer(first, second) + (1 - world.discordant) * np.diag(alike)
    rows = [(0.0, float(x), float(y)) for x in values for y in values]
    return rows, pairs.ravel() / pairs.sum()


def study(world: World, trials: int, seed: int) -> Mapping[str, float]:
    """Shares of the trials; the mean width of the interval."""
    found = list((of_shares if world.kind == "accuracy" else of_rows)(world, np.random.default_rng(seed), trials))
    return {name: float(np.mean([trial[name] for trial in found])) for name in found[0]}


def kept(path: Path, settings: Mapping[str, Any]) -> dict[World, Mapping[str, Any]]:
    """The worlds of a results file that was written with these settings."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if any(content.get(name) != value for name, value in settings.items()):
        return {}
    names = [field.name for field in fields(World)]
    return {World(**{name: row[name] for name in names}): row for row in content["worlds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--kind", choices=KINDS, help="worlds of this metric only")
    parser.add_argument("--seed", type=int, default=13)
    given = parser.parse_args()
    effects = {"better": DEFAULT, "better_least": LEAST}
    settings = {"trials": given.trials, "seed": given.seed, "resamples": RESAMPLES, "minimum_effects": effects}
    environment = describe_environment()
    for kind in [given.kind] if given.kind else KINDS:
        path = RESULTS / f"verdict-simulation-{kind}.json"
        found = kept(path, settings)  # a run that was stopped goes on
        for world in (world for world in grid() if world.possible and world.kind == kind):
            if world not in found:
                found[world] = {**asdict(world), **study(world, given.trials, given.seed)}
            content = {**settings, "environment": environment, "worlds": list(found.values())}
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        rows = list(found.values())
        shown = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
        print(table(list(rows[0]), shown), flush=True)


if __name__ == "__main__":
    main()
