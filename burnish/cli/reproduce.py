"""`burnish reproduce`: a run made again, and how close it came."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

SHOWN = 5  # numbers and rows that are listed


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    parser = command("reproduce", "run a run again, and say how close it came", "burnish reproduce RUN")
    parser.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    parser.add_argument("--output", metavar="DIR", help="the new run's folder (default: beside the runs, -again)")
    parser.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="do this otherwise this time; may be repeated"
    )


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.lifecycle.reproduce import reproduce

    found = reproduce(options.run, output=options.output, overrides=options.set, progress=TerminalProgress())
    print(json.dumps(found, ensure_ascii=False) if options.json else show_reproduction(found))
    return 0 if found["bit_equal"] else 1


def show_reproduction(found: Mapping[str, Any]) -> str:
    """What is the same, what is not and by how much, and what was not the same before."""
    from burnish.lifecycle.reproduce import said

    head = "BIT-EQUAL" if found["bit_equal"] else "DIFFERENT"
    lines = [f"{head}  {found['again']} against {found['run']}", ""]
    lines += [_files(found), _steps(found["steps"]), _predictions(found["predictions"]), _numbers(found["evaluation"])]
    lines += [
        f"    {each['where']}: {each['before']} before, {each['after']} now"
        for each in found["evaluation"]["shown"][:SHOWN]
    ]
    if found["differences"]:
        lines += ["", "what was not the same:", *(f"  {said(each)}" for each in found["differences"])]
    elif not found["bit_equal"]:
        lines += ["", "nothing that is recorded was different: what adds in another order each time did this"]
    return "\n".join([*lines, "", f"folder  {found['folder']}"])


def _files(found: Mapping[str, Any]) -> str:
    files, weights = found["files"], found["weights"]
    if files["same"]:
        return f"  model        {files['count']} files, each with the same sha256"
    unlike = [*files["different"], *files["missing"], *files["added"]]
    text = f"  model        {len(unlike)} files differ: {', '.join(unlike[:SHOWN])}"
    if weights and weights["largest"] is not None:
        text += f"\n               largest difference of a weight {weights['largest']:.3g}, in {weights['tensor']}"
    return text


def _steps(steps: Mapping[str, Any]) -> str:
    if steps["same"]:
        return f"  training     {steps['lines'][0]} logged lines, all alike"
    what = "; ".join(f"{name} {pair[0]} before, {pair[1]} now" for name, pair in list(steps["what"].items())[:2])
    return f"  training     differs from step {steps['first_step']} on: {what}"


def _predictions(predictions: Mapping[str, Any]) -> str:
    before, after = predictions["rows"]
    if predictions["same"]:
        return f"  predictions  {before:,} rows, all alike"
    if before != after:
        return f"  predictions  {after:,} rows instead of {before:,}"
    return (
        f"  predictions  {predictions['flipped']:,} of {before:,} answers are others; "
        f"{predictions['different']:,} rows differ, by {predictions['largest']:.3g} at most"
    )


def _numbers(evaluation: Mapping[str, Any]) -> str:
    if evaluation["same"]:
        return f"  evaluation   {evaluation['count']:,} values, all alike"
    return f"  evaluation   {evaluation['different']:,} of {evaluation['count']:,} values differ"
