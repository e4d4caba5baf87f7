"""What evaluation.json says beyond the verdict: groups, how sure a classifier is, and other spellings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import excerpt
from burnish.evaluation.calibration import Temperature, judge_calibration, softened
from burnish.evaluation.gates import with_gate
from burnish.evaluation.groups import Decisions, group_names, groups_gate, judge_groups
from burnish.evaluation.metrics.resampling import Array
from burnish.evaluation.options import EvaluationOptions
from burnish.evaluation.thresholds import judge_confidence, sureness
from burnish.types import Metric, Split

SPELT = ("text", "first", "second")  # columns whose text may be spelt otherwise without meaning something else


def with_groups(
    evaluation: dict[str, Any],
    data: PreparedData,
    options: EvaluationOptions,
    metrics: Sequence[Metric],
    references: Sequence[Any],
    answers: Sequence[Any],
    *,
    seed: int,
    decisions: Decisions | None = None,
) -> dict[str, Any]:
    """The evaluation with the groups that the recipe names, and with the gate `groups` where it sets `max_gap`.

    Args:
        metrics, references, answers: of the test rows, the deciding metric first.
        decisions: where there is one label per row.
    """
    if not options.groups:
        return evaluation
    known, test = data.found[Split.TRAIN], data.splits[Split.TEST]
    columns = {
        column: group_names([e.extra.get(column) for e in known], [e.extra.get(column) for e in test])
        for column in options.groups
    }
    evaluation["groups"] = judge_groups(
        columns,
        metrics,
        references,
        answers,
        decisions=decisions,
        resamples=options.resamples,
        seed=seed,
    )
    if options.max_gap is None:
        return evaluation
    return with_gate(evaluation, groups_gate(evaluation["groups"], options.max_gap))


def judged_sureness(
    models: Mapping[str, Mapping[Split, Array]],
    fitted: Mapping[str, Mapping[str, Any]],
    truth: Mapping[Split, Sequence[str]],
    *,
    labels: Sequence[str],
    positive: str,
    options: EvaluationOptions,
    seed: int,
) -> dict[str, Any]:
    """{"calibration", "confidence"} of evaluation.json: of each model before and after its temperature.

    Args:
        models: name -> (N, C) probabilities of validation and test rows without a temperature; the first one answers.
        fitted: name -> what the package says of its temperature; empty for models that were packaged without.
        truth: labels of the rows.
        positive: of two labels, the one whose probability is looked at.
    """
    found: dict[str, Any] = {"of": f'"{excerpt(positive)}"' if positive else "the likeliest class", "models": {}}
    for name, before in models.items():
        temperature = float(fitted[name].get("temperature", 1.0))
        found["models"][name] = {
            "temperature": dict(fitted[name]) or Temperature(1.0, 0, "the model was packaged without one").as_dict(),
            **judge_calibration(
                labels,
                positive,
                truth[Split.TEST],
                before[Split.TEST],
                softened(before[Split.TEST], temperature),
                resamples=options.resamples,
                seed=seed,
            ),
        }
    first = next(iter(models))
    temperature = float(fitted[first].get("temperature", 1.0))
    test, validation = (
        sureness(labels, truth[split], softened(models[first][split], temperature))
        for split in (Split.TEST, Split.VALIDATION)
    )
    return {"calibration": found, "confidence": judge_confidence(test, validation, options.min_accuracy)}


def spelt_columns(task: Any) -> list[str]:
    """The columns of a task's texts that may be spelt otherwise; none where answers point into the text."""
    return [column for column in task.columns if column in SPELT and task.columns[column] is str]


def told(found: Temperature) -> str:
    """What was found about a model's sureness, for people."""
    if found.reason:
        return f"probabilities stay as they come: {found.reason}"
    how = "too sure" if found.temperature > 1 else "not sure enough"
    return f"probabilities are calibrated: it was {how}, temperature {found.temperature:.2f} from {found.n:,} rows"
