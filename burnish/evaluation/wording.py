"""How numbers, verdicts and texts of users are put into words, the same on every page about a run."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from burnish.evaluation.arm_words import words_for

NOTHING = "–"
TIED = "\u00a0"  # no line breaks between a number and its unit
# metrics of written answers
ANSWERS = ("exact-match", "final-number", "json-match", "chrf", "corpus-chrf", "bleu", "rouge-l")
SHARES = (  # 0..1, shown in percent
    *("accuracy", "macro-f1", "f1", "precision", "recall", "token-accuracy", "reward-accuracy", "win-rate"),
    *ANSWERS,
    *("entity-f1", "entity-precision", "entity-recall", "micro-f1", "subset-accuracy"),
    *("recall@1", "recall@10", "ndcg@10", "mrr@10"),
    *("answer-f1", "answer-exact"),
    *("roc-auc", "pr-auc"),
)
ERRORS = ("loss", "mae", "rmse", "log-loss", "brier", "calibration-error")  # lower is better
METRIC_TITLES = {
    "accuracy": "accuracy",
    "macro-f1": "macro-F1",
    "loss": "loss",
    "exact-match": "exact match",
    "final-number": "right number",
    "json-match": "same JSON",
    "chrf": "chrF",
    "corpus-chrf": "corpus chrF",
    "bleu": "BLEU",
    "rouge-l": "ROUGE-L",
    "reward-accuracy": "reward accuracy",
    "entity-f1": "entity F1",
    "entity-precision": "entity precision",
    "entity-recall": "entity recall",
    "token-accuracy": "token accuracy",
    "micro-f1": "micro-F1",
    "answer-f1": "F1 of the answers' words",
    "answer-exact": "exactly right answers",
    "subset-accuracy": "all labels right",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "spearman": "Spearman's rank correlation",
    "roc-auc": "ROC-AUC",
    "pr-auc": "PR-AUC",
    "log-loss": "log loss",
    "brier": "Brier score",
    "calibration-error": "calibration error",
    "recall@1": "recall@1",
    "recall@10": "recall@10",
    "ndcg@10": "NDCG@10",
    "mrr@10": "MRR@10",
}
HEADLINES = {
    "better": "Yes, the tuned model is better.",
    "same": "No real difference: fine-tuning did not pay.",
    "worse": "No, the tuned model is worse.",
    "too little data": "Too little data to tell.",
}
_SIGNS = {"\n": " ↵ ", "\t": "⇥"}
_JOINERS = "\u200c\u200d"  # inside words of some scripts and inside emoji


def entries(value: Any) -> Mapping[str, Any]:
    """The mapping a key of a JSON file should hold; an empty one where it holds something else or nothing."""
    return value if isinstance(value, Mapping) else {}


def finite(value: Any) -> float | None:
    """The number a JSON value stands for, None when it is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def visible(text: object, limit: int | None = None) -> str:
    """A user's text on one line, cut to `limit` characters with …, with every control character made visible.

    >>> print(visible("a\\tb\\x00"), visible("abcdef", 4))
    a⇥b\\x00 abc…
    """
    whole = str(text)
    shown = whole if limit is None or len(whole) <= limit else whole[: limit - 1] + "…"
    return "".join(c if c.isprintable() or c in _JOINERS else _made_visible(c) for c in shown)


def escaped(text: object, limit: int | None = None) -> str:
    """The visible text as HTML.

    >>> escaped("<b>")
    '&lt;b&gt;'
    """
    return html.escape(visible(text, limit))


def _made_visible(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if unicodedata.category(character) == "Zs":
        return character  # a space of some width
    return repr(character)[1:-1]


def count(value: Any, unit: str = "") -> str:
    """`12,345 rows`; one of them is `1 row`."""
    number = finite(value)
    if number is None:
        return NOTHING
    shown = f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"
    return shown if not unit else f"{shown} {unit.removesuffix('s') if number == 1 else unit}"


def is_share(metric: object) -> bool:
    """Whether a metric, or one of a class such as recall[refund], lies in 0..1."""
    return str(metric).partition("[")[0].strip() in SHARES


def name_of_test(verdict: Mapping[str, Any]) -> str:
    """What gave the p-value of a verdict; runs judged before it was written down had a sign test."""
    return {"McNemar": "McNemar", "permutation": "permutation test"}.get(str(verdict.get("test")), "sign test")


def metric_title(metric: object) -> str:
    return METRIC_TITLES.get(str(metric), str(metric))


def arm_title(arm: object) -> str:
    return words_for(str(arm)).title


def figure(metric: object, value: Any) -> str:
    """A value of a metric: `93.1 %` for shares, four digits for others."""
    number = finite(value)
    if number is None:
        return NOTHING
    return f"{100 * number:.1f}{TIED}%" if is_share(metric) else f"{number:.4g}"


def interval(metric: object, entry: Any) -> str:
    """`92.2 to 94.0 %`, the 95 % interval of an entry with low and high."""
    low, high = finite(entries(entry).get("low")), finite(entries(entry).get("high"))
    if low is None or high is None:
        return NOTHING
    return f"{figure(metric, low).removesuffix(f'{TIED}%')} to {figure(metric, high)}"


def p_value(value: Any) -> str:
    """`p = 0.003`, `p < 0.001`."""
    number = finite(value)
    if number is None:
        return f"p{TIED}={TIED}{NOTHING}"
    if number < 0.001:
        return f"p{TIED}<{TIED}0.001"
    return f"p{TIED}={TIED}{number:.2g}" if number < 0.1 else f"p{TIED}={TIED}{number:.2f}"


def signed(metric: object, value: Any) -> str:
    """A difference with its sign: `+1.2 points` (percentage points) for shares."""
    number = finite(value)
    if number is None:
        return NOTHING
    shown = f"{100 * number:+.1f}" if is_share(metric) else f"{number:+.3g}"
    shown = shown.replace("-", "−")
    return f"{shown}{TIED}points" if is_share(metric) else shown


def signed_interval(verdict: Mapping[str, Any]) -> str:
    """`+0.4 to +2.0 points`, the 95 % interval of a verdict's difference."""
    metric = verdict.get("metric")
    low, high = (signed(metric, verdict.get(end)) for end in ("low", "high"))
    return NOTHING if NOTHING in (low, high) else f"{low.removesuffix(f'{TIED}points')} to {high}"


def headline(verdict: Mapping[str, Any]) -> str:
    """The answer as one short sentence."""
    return HEADLINES.get(str(verdict.get("answer")), "No verdict yet.")


def comparison(verdict: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """The sentence under the answer: both values, the difference with its interval, n and p."""
    metric, against = verdict.get("metric"), str(verdict.get("against"))
    own, other = (entries(entries(models.get(name)).get(str(metric))).get("value") for name in ("tuned", against))
    return (
        f"On {count(verdict.get('n'), 'test rows')} it never learned from, the tuned model reaches "
        f"{figure(metric, own)} {metric_title(metric)}. The strongest way without fine-tuning, {arm_title(against)}, "
        f"reaches {figure(metric, other)}. The difference is {signed(metric, verdict.get('difference'))} "
        f"(95{TIED}% interval {signed_interval(verdict)}, {p_value(verdict.get('p_value'))})."
    )


def over_seeds(spread: Mapping[str, Any]) -> str:
    """`accuracy 91.2 % on average over 3 seeds, standard deviation 0.4 points; gain +1.1 points, deviation 0.5`."""
    metric = spread.get("metric")
    mean, deviation = figure(metric, spread.get("mean")), signed(metric, spread.get("deviation")).removeprefix("+")
    gain, of_gain = signed(metric, spread.get("gain")), signed(metric, spread.get("gain_deviation")).removeprefix("+")
    rows = "" if spread.get("same_rows") else "; each seed drew its own test rows"
    return (
        f"{metric_title(metric)} {mean} on average over {count(spread.get('seeds'), 'seeds')}, standard deviation "
        f"{deviation}; gain {gain}, standard deviation {of_gain}{rows}"
    )


def size(value: Any) -> str:
    """Bytes in the unit people read: `1.4 GB` is 1.4e9 bytes."""
    number = finite(value)
    if number is None:
        return NOTHING
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def duration(seconds: Any) -> str:
    """`2 h 5 min`, `3 min 20 s`, `4.2 s`."""
    number = finite(seconds)
    if number is None:
        return NOTHING
    if round(number, 1) < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def choices(judged: Mapping[str, Any], prompts: Any) -> list[str]:
    """What the verdict on a judge's choices rests on, a line for each number."""
    controlled, raw, first = (entries(judged.get(name)) for name in ("length_controlled", "win_rate", "first"))
    chosen, n = (finite(first.get(name)) or 0.0 for name in ("chosen", "n"))
    lines = [
        f"at equal length preferred on {figure('win-rate', controlled.get('value'))} of prompts "
        f"(95{TIED}% interval {interval('win-rate', controlled)})",
        f"as they are on {figure('win-rate', raw.get('value'))} ({interval('win-rate', raw)}): "
        f"{count(judged.get('wins'))} won, {count(judged.get('ties'))} tied, {count(judged.get('losses'))} lost of "
        f"{count(judged.get('n'))}, sign test {p_value(judged.get('p_value'))}; {count(prompts, 'test prompts')}",
    ]
    if n:
        lines.append(
            f"the answer shown first was chosen in {figure('win-rate', chosen / n)} of {count(n, 'choices')} "
            f"({interval('win-rate', first)})"
            + (f", in both orders on {count(judged['by_place'], 'prompts')}" if finite(judged.get("by_place")) else "")
        )
    if finite(judged.get("refused")):
        lines.append(f"{count(judged.get('refused'), 'answers')} of the judge without a choice, counted for nothing")
    return lines


def agreement(pair: Mapping[str, Any]) -> str:
    """`ann and gpt: 81.2 % of 32 prompts, kappa 0.62`."""
    one, other = (visible(name, 80) for name in pair.get("judges") or ("?", "?"))
    kappa = finite(pair.get("kappa"))
    shown = NOTHING if kappa is None else f"{kappa:.2f}"
    share, n = figure("win-rate", pair.get("share")), count(pair.get("n"), "prompts")
    return f"{one} and {other}: {share} of {n}, kappa {shown}"
