"""The parts of a report that weigh gain against loss: gates, what was forgotten, and which weights were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.evaluation import chart, wording
from burnish.evaluation.forgetting import ALL, KIND_ROOM
from burnish.evaluation.report_html import Html, figures, folded, isolated, paragraph, section, table
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import NOTHING, count, entries, escaped, figure, finite, metric_title

KIND_LIMIT, TEXT_LIMIT = 60, 300  # characters


def gates_section(record: RunRecord) -> Html:
    """What must hold before the model is promoted, and whether it does."""
    rows = []
    for gate in map(entries, record.evaluation.get("gates") or ()):
        passed = bool(gate.get("passed"))
        sign = "✓ passed" if passed else "✗ not passed"
        mark = Html(f'<span class="{"better" if passed else "worse"}">{sign}</span>')
        rows.append(
            [isolated(gate.get("name", "?")), mark, f"{gate.get('reason', '')} {gate.get('advice', '')}".strip()]
        )
    text = "The verdict says whether the model got better at its task; a gate, whether something else broke on the way."
    told = table("Gates on the way to promotion", ["gate", "outcome", "why"], rows)
    return section("gates", "May it be promoted?", paragraph(text), told)


def forgetting_section(record: RunRecord) -> Html:
    """Gain and loss side by side: the task on its test rows, and the probes of general ability."""
    found = entries(record.evaluation.get("forgetting"))
    kinds = {str(kind): entries(about) for kind, about in entries(found.get("kinds")).items()}
    tolerance = finite(found.get("tolerance")) or 0.0
    verdict = record.verdict
    text = (
        "What the training won on its test rows, beside what it cost: the loss on "
        f"{count(found.get('n'), 'probes')} of other abilities, against the base's. Lost is what rose for "
        f"certain by more than is tolerated: {100 * tolerance:g} % of all probes together, of a single ability "
        f"{KIND_ROOM} times that, since its few probes swing further."
    )
    heads = ["ability", "probes", "base, nats per token", "tuned", "rise", "95 % interval", "outcome"]
    rows = [_row(kind, about) for kind, about in kinds.items()]
    return section(
        "forgetting",
        "What it forgot",
        paragraph(text),
        figures(_gain(verdict), _cost(kinds)),
        table("Loss on probes before and after", heads, rows, numbers={1, 2, 3, 4, 5}),
        _choices(entries(found.get("choices"))),
        _lost_most(found),
    )


def _gain(verdict: Mapping[str, Any]) -> str:
    metric = verdict.get("metric")
    scale = 100.0 if wording.is_share(metric) else 1.0
    value, low, high = (
        None if (number := finite(verdict.get(name))) is None else scale * number
        for name in ("difference", "low", "high")
    )
    return chart.interval_chart(
        [chart.Interval(f"tuned minus {verdict.get('against')}", value or 0.0, low, high, highlight=True)],
        title="Gain on the task",
        description=wording.signed_interval(verdict),
        x_label=f"{metric_title(metric)}, {'percentage points' if scale == 100.0 else 'more is better'}",
        mark=chart.Mark(0.0, "no difference"),
    )


def _cost(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for kind, about in kinds.items():
        value, low, high = (finite(about.get(name)) for name in ("rise", "low", "high"))
        if value is not None and about.get("known"):
            low, high = (None if bound is None else 100 * bound for bound in (low, high))
            rows.append(chart.Interval(kind[:KIND_LIMIT], 100 * value, low, high, highlight=bool(about.get("lost"))))
    return chart.interval_chart(
        rows,
        title="Loss of abilities",
        description="; ".join(f"{row.label} {row.value:+.1f} %" for row in rows),
        x_label="rise of the loss, %",
        unit=" %",
        mark=chart.Mark(0.0, "as before"),
    )


def _outcome(about: Mapping[str, Any]) -> str:
    if about.get("lost"):
        return "✗ lost"
    if not about.get("known"):
        return "the base does not know it"
    rise, tolerated = (finite(about.get(name)) or 0.0 for name in ("rise", "tolerated"))
    return "kept" if rise <= tolerated else "too few probes to tell"


def _row(kind: str, about: Mapping[str, Any]) -> list[object]:
    mark = Html(f'<span class="{"worse" if about.get("lost") else ""}">{_outcome(about)}</span>')
    rise, low, high = (finite(about.get(name)) for name in ("rise", "low", "high"))
    losses = [figure("loss", about.get(name)) for name in ("base_loss", "tuned_loss")]
    interval = NOTHING if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"
    name = Html(f"<strong>{escaped(kind)}</strong>") if kind == ALL else isolated(kind, KIND_LIMIT)
    shown = NOTHING if rise is None else f"{100 * rise:+.1f} %"
    return [name, count(about.get("n")), *losses, shown, interval, mark]


def _choices(choices: Mapping[str, Any]) -> str:
    if not choices:
        return ""
    before, after = (figure("accuracy", choices.get(name)) for name in ("base_accuracy", "tuned_accuracy"))
    n = count(entries(choices.get("difference")).get("n"))
    test = wording.p_value(choices.get("p_value"))
    return paragraph(f"Of {n} multiple choices the base gets {before} right, the tuned model {after} ({test}).")


def _lost_most(found: Mapping[str, Any]) -> str:
    rows = [
        [
            isolated(entries(row).get("text", ""), TEXT_LIMIT),
            isolated(entries(row).get("kind", "?"), KIND_LIMIT),
            *(figure("loss", entries(row).get(name)) for name in ("base_loss", "tuned_loss")),
        ]
        for row in found.get("lost_most") or ()
    ]
    if not rows:
        return ""
    heads = ["probe", "ability", "base, nats per token", "tuned"]
    return folded("The probes that lost most", table("Probes that lost most", heads, rows, numbers={2, 3}))


def checkpoints_section(record: RunRecord) -> Html:
    """The ways the training could have ended, by validation."""
    choice = entries(record.training.get("checkpoint_choice"))
    compared = [entries(way) for way in choice.get("compared") or ()]
    chosen = [index for index, way in enumerate(compared) if way.get("name") == choice.get("chosen")]
    rows = []
    for way in compared:
        rise = finite(way.get("rise"))
        steps = ", ".join(count(step) for step in way.get("steps") or ())
        share = f"{100 * (finite(way.get('share')) or 0.0):.0f} %"
        value = f"{finite(way.get('value')) or 0.0:.4f}"
        rows.append([way.get("name", "?"), steps, share, value, NOTHING if rise is None else f"{100 * rise:+.1f} %"])
    text = (
        "Compared on the validation rows, never on the test: the best on them of those that forget no more than is "
        f"tolerated. Chosen: {choice.get('chosen')}."
    )
    heads = ["weights", "of steps", "of the way from the base", "validation", "rise on probes (a kind's: a third)"]
    told = table("Ways to end the training, on validation rows", heads, rows, numbers={2, 3, 4}, strong=chosen)
    return section("checkpoints", "Which weights it ends with", paragraph(text), told)
