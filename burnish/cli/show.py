"""Results as text for a terminal: readable without colour, in 80 to 110 columns."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import excerpt
from burnish.evaluation import wording
from burnish.evaluation.wording import visible
from burnish.registry.runs import RunSummary
from burnish.storage.run_folder import RunFolder

SHOWN = 3  # places or details of a finding
MOST_WORDS = 12  # of an explanation
ONE_ROW = {"have": "has", "hold": "holds", "say": "says", "repeat": "repeats", "are": "is", "begin": "begins"} | {
    "end": "ends",
    "share": "shares",
    "mean": "means",
    "lie": "lies",
}
KINDS = {"error": "to mend", "warning": "to look at", "info": "good to know"}
COLOURS_OF_SEVERITY = {"error": "31", "warning": "33", "info": "36"}
COLOURS = {"better": "32", "same": "33", "too little data": "33", "worse": "31"}


def show_verdict(evaluation: Mapping[str, Any]) -> str:
    """The verdict first, then every arm with its interval, goals, and what to do."""
    verdict = evaluation["verdict"]
    metric = str(verdict["metric"])
    answer = str(verdict["answer"])
    gain, low, high = (float(verdict[key]) for key in ("difference", "low", "high"))
    difference = f"{gain:+.3g} [{low:+.3g}, {high:+.3g}]"
    if wording.is_share(metric):
        difference = f"{100 * gain:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    p_value = verdict.get("p_value")
    chance = "" if p_value is None else f", {wording.name_of_test(verdict)} p = {p_value:.2g}"
    models: Mapping[str, Mapping[str, Any]] = evaluation["models"]
    sign = -1.0 if metric in wording.ERRORS else 1.0  # the best one stands last
    found = models["tuned"]
    of_labels = [name for name in ("accuracy", "macro-f1") if name in found]
    shown_metrics = of_labels if metric in of_labels else list(found)[:2]
    titles = "   ".join(f"{wording.metric_title(name):>9}   {'95 % interval':<15}" for name in shown_metrics)
    lines = [
        "",
        f"VERDICT  {coloured(answer.upper(), COLOURS.get(answer, '0'))}: "
        f"{metric} {difference} against {verdict['against']}, n = {verdict['n']:,}{chance}",
        "",
        f"  {'on the sealed test':<22}{titles}".rstrip(),
    ]
    for name, metrics in sorted(models.items(), key=lambda item: sign * _value(item[1], metric)):
        mark = "→" if name == "tuned" else " "
        shown = "   ".join(_cell(metrics.get(key), key) for key in shown_metrics)
        lines.append(f"{mark} {name:<22}{shown}".rstrip())
    lines.append("")
    for goal in evaluation.get("goals", []):
        word = "reached" if goal["reached"] else "MISSED"
        sure = "" if goal.get("certain", True) else ", not certain"
        lines.append(f"  goal {goal['goal']}: {word} ({goal['value']:.3f}{sure})")
    for gate in evaluation.get("gates", []):
        lines += [f"  gate {gate['name']}: {'passed' if gate['passed'] else 'NOT PASSED'}"]
    if evaluation.get("split") == "test" and evaluation.get("opened"):
        lines.append(f"  sealed test rows opened: {_times(int(evaluation['opened']))}")
    lines += textwrap.wrap(str(verdict["advice"]), 96, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def show_prediction(asked: str | Mapping[str, Any], prediction: Mapping[str, Any]) -> str:
    """A prediction on one line: an answer, a label with its probability, spans with what they are, else JSON."""
    if "answer" in prediction:
        return visible(prediction["answer"])
    text = asked if isinstance(asked, str) else " | ".join(str(value) for value in asked.values())
    if "label" in prediction:
        label = excerpt(prediction["label"], limit=200)  # as it came from a file: no control characters here
        if "guess" in prediction:
            label = f"{label}, perhaps {excerpt(prediction['guess'], limit=200)}"
        return f"{label}\t{prediction['probability']:.3f}\t{' '.join(text.split())}"
    if "spans" in prediction:
        spans = prediction["spans"] or [{"kind": "none", "text": ""}]
        return "; ".join(visible(f"{span['kind']}: {span['text']}".removesuffix(": ")) for span in spans)
    return json.dumps(prediction, ensure_ascii=False)


def show_explanation(why: Mapping[str, Any]) -> str:
    """The words that move the probability most, and what all of them together explain."""
    words = sorted(why["words"], key=lambda word: -abs(word["gain"]))[:MOST_WORDS]
    shown = "  ".join(f"{100 * word['gain']:+.1f} {visible(word['word'], 40)}" for word in words)
    total = sum(word["gain"] for word in why["words"])
    return (
        f"  points of probability: {shown}\n"
        f"  {100 * why['blank']:.1f} % without any word, {100 * total:+.1f} from all words, "
        f"{100 * why['probability']:.1f} % with them; {100 * abs(why['error']):.1f} points unexplained"
    )


def show_check(found: Mapping[str, Any]) -> str:
    """What the data holds and what is wrong with it: the worst first, with places and what to do."""
    lines = [f"{found['rows']:,} rows read from {', '.join(found['files'])}"]
    lines += [f"  {note}" for note in found["notes"]]
    lengths = found["lengths"]
    if lengths:
        lines.append(
            f"  characters per row: median {lengths['median']:,}, 95 % under {lengths['p95'] + 1:,}, "
            f"longest {lengths['longest']:,} ({lengths['longest_at']})"
        )
    lines += [f"  warning: {warning}" for warning in found["warnings"]]
    findings = found["findings"]
    counts = Counter(finding["severity"] for finding in findings)
    if not counts["error"] and not counts["warning"]:
        lines += ["", "no problems found"]
    else:
        lines += ["", ", ".join(f"{counts[kind]} {name}" for kind, name in KINDS.items() if counts[kind])]
    for finding in findings:
        lines += _finding_lines(finding)
    for mask in found.get("masks", ()):
        lines += _mask_lines(mask)
    return "\n".join(lines)


def _finding_lines(finding: Mapping[str, Any]) -> list[str]:
    """A finding in a few lines: how many rows and what, where, and what to do."""
    severity = finding["severity"]
    count, what = finding["count"], finding["what"]
    rows = f"{count:,} rows ({_share(finding['share'])}) " if count else ""
    if count == 1:
        verb, _, rest = what.partition(" ")
        rows, what = "1 row ", f"{ONE_ROW.get(verb, verb)} {rest}"
    head = textwrap.wrap(f"{rows}{what}  [{finding['code']}]", 91, break_on_hyphens=False)
    lines = [f"{coloured(severity.upper(), COLOURS_OF_SEVERITY[severity]):<7}  {head[0]}"]
    lines += [f"         {line}" for line in head[1:]]
    shown = finding["details"] or finding["places"]
    lines += [f"         {line}" for line in shown[:SHOWN]]
    if len(shown) > SHOWN:
        lines[-1] += "  … more with --json"
    lines += textwrap.wrap(finding["fix"], 100, initial_indent="         → ", subsequent_indent="           ")
    return lines


def _mask_lines(mask: Mapping[str, Any]) -> list[str]:
    """A conversation as the model reads it: what it learns in green, or between ⟦ and ⟧ without colours."""
    if "refused" in mask:
        return ["", f"{mask['place']}: cannot be learned from: {mask['refused']}"]
    in_colour = coloured("x", "32") != "x"
    text = "".join(
        (coloured(shown_lines(piece), "32") if in_colour else f"⟦{shown_lines(piece)}⟧")
        if learned
        else shown_lines(piece)
        for piece, learned in mask["pieces"]
    )
    return ["", f"{mask['place']}: {mask['learned']:,} of {mask['tokens']:,} tokens are learned", text]


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 or share == 0 else "<0.1%"


def show_runs(runs: Sequence[RunSummary], folder: Path) -> str:
    if not runs:
        return f"no runs in {folder} yet; start with `burnish demo` or `burnish train DATA`"
    rows = [("id", "status", "method", "base", "verdict", "created")]
    for run in runs:
        value = f" ({run.metric} {run.value:.3f})" if run.value is not None else ""
        rows.append((run.id, run.status, run.method, Path(run.base).name, f"{run.answer or '-'}{value}", run.created))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def show_run(folder: RunFolder) -> str:
    """One run in a few lines."""
    manifest = folder.manifest()
    data, training = manifest.get("data", {}), manifest.get("training", {})
    splits = ", ".join(f"{n:,} {name}" for name, n in data.get("splits", {}).items())
    base = manifest.get("base", {}).get("name")
    lines = [
        f"run      {manifest.get('id')}",
        f"status   {manifest.get('status')}",
        f"folder   {folder.path}",
    ]
    if manifest.get("task"):  # a run that failed over its rows has none yet
        lines.append(f"task     {manifest['task']}, method {manifest.get('method')}, base {base}")
        lines.append(f"rows     {splits}")
    if training:
        lines.append(
            f"training {training.get('steps')} steps, best at step {training.get('best_step')}, "
            f"{training.get('stopped')}, {training.get('trainable_parameters', 0):,} weights learned"
        )
    lines += [f"parent   {_parent(parent)}" for parent in manifest.get("parents", [])]
    error = manifest.get("error")
    if error and manifest.get("status") != "finished":
        lines.append(f"error    {error['message'].splitlines()[0]}")
    verdict = manifest.get("verdict")
    if verdict:
        lines.append(f"verdict  {verdict['answer']}: {verdict['metric']} {verdict['tuned']:.3f}")
        lines.append(f"report   {folder.report}")
    return "\n".join(lines)


def _parent(parent: Mapping[str, Any]) -> str:
    """The checkpoint that a run went on from, or the stored model that it was trained on from."""
    if "checkpoint" in parent:
        return f"{parent['run']}, {parent['checkpoint']}, with {', '.join(parent['changed'])}"
    return f"{parent['name']}, version {parent['version'][:12]}"


def _times(count: int) -> str:
    return "once, for this verdict" if count == 1 else f"{count} times; each look makes their answer less independent"


def _value(metrics: Mapping[str, Any], metric: str) -> float:
    return float((metrics.get(metric) or {}).get("value", 0.0))


def _cell(value: Mapping[str, Any] | None, metric: str) -> str:
    if not value:
        return f"{'-':>9}   {'':<15}"
    low, high = value.get("low"), value.get("high")
    if not wording.is_share(metric):
        interval = "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"
        return f"{value['value']:>9.3f}   {interval:<15}"
    interval = "" if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value['value']:>8.1f}%   {interval:<15}"


def coloured(text: str, colour: str) -> str:
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return f"\x1b[1;{colour}m{text}\x1b[0m"
    return text


def shown_lines(text: str) -> str:
    """A text of several lines with every other control character made visible."""
    return "\n".join(wording.visible(line) for line in text.split("\n"))
