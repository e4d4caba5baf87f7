"""`burnish runs`: the list, one run, or what is different in two."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from burnish.errors import UsageError, excerpt

FILTERS = ("task", "status", "base", "answer", "limit")
ACTIONS = {"list": 0, "show": 1, "diff": 2}  # runs that each names
ANSWERS = ("better", "same", "worse", "too little data")
SHOWN = 30  # differences of one kind that are listed
WIDTH = 48  # characters of a value


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    parser = command("runs", "list the runs, show one, or compare two", "burnish runs diff RUN RUN")
    parser.add_argument(
        "words",
        metavar="WORD",
        nargs="*",
        help="list (default), RUN or show RUN, diff RUN RUN; RUN is an id, the unique beginning of one, or a folder",
    )
    parser.add_argument("--all", action="store_true", help="list what the registry recorded, of whatever folder")
    only = parser.add_argument_group("of the list, only")
    only.add_argument("--task", metavar="T", help="runs of this task")
    only.add_argument("--status", metavar="S", help="runs with this status: finished, running, paused, failed, ...")
    only.add_argument("--base", metavar="B", help="runs whose base has this in its name")
    only.add_argument("--answer", choices=ANSWERS, help="runs with this verdict")
    only.add_argument("--limit", metavar="N", type=_number, help="the newest N")


def run(options: argparse.Namespace) -> int:
    action, names = _parsed(options)
    if action == "list":
        return _list(options)
    return _show(names[0], options) if action == "show" else _diff(names, options)


def _parsed(options: argparse.Namespace) -> tuple[str, list[str]]:
    """What is asked for, and the runs it names.

    Raises:
        UsageError: [runs/usage] for too few or too many runs, or a filter beside them.
    """
    words = list(options.words)
    action = words.pop(0) if words and words[0] in ACTIONS else "show" if words else "list"
    wanted = ACTIONS[action]
    if len(words) != wanted:
        runs = "no run" if wanted == 0 else "one run" if wanted == 1 else "two runs"
        hint = f"burnish runs {action}{' RUN' * wanted}"
        said = excerpt(" ".join(words)) or "none"
        raise UsageError("runs/usage", f"`runs {action}` takes {runs}, not {said}", where="runs", hint=hint)
    given = [name for name in (*FILTERS, "all") if getattr(options, name) not in (None, False)]
    if given and action != "list":
        raise UsageError(
            "runs/usage", f"--{given[0]} chooses from the list", where=f"--{given[0]}", hint="burnish runs list ..."
        )
    return action, words


def _list(options: argparse.Namespace) -> int:
    from burnish.cli.show import show_runs
    from burnish.registry.runs import chosen_runs, list_runs
    from burnish.settings import settings

    wanted = {name: getattr(options, name) for name in FILTERS}
    if options.all:
        from burnish.lifecycle.versions import recorded_runs

        found = recorded_runs(**wanted)
        chosen = found
    else:
        found = list_runs(settings().runs)
        chosen = chosen_runs(found, **wanted)
    if options.json:
        _print({"runs": [summary.as_dict() for summary in chosen]})
    elif found and not chosen:
        print(f"none of {len(found):,} runs is like that")
    else:
        print(show_runs(chosen, settings().runs))
    return 0


def _show(name: str, options: argparse.Namespace) -> int:
    from burnish.cli.show import show_run
    from burnish.evaluation import wording
    from burnish.lifecycle.seeds import seed_spread
    from burnish.registry.runs import find_run
    from burnish.settings import settings

    folder = find_run(name, settings().runs)
    spread = seed_spread(folder)
    if options.json:
        evaluation = folder.content(folder.evaluation) if folder.evaluation.exists() else None
        shown = {"folder": str(folder.path), "manifest": folder.manifest(), "evaluation": evaluation}
        _print({**shown, "seeds": spread})
    else:
        print(show_run(folder))
        if spread:
            print(f"seeds    {wording.over_seeds(spread)}")
    return 0


def _diff(names: Sequence[str], options: argparse.Namespace) -> int:
    from burnish.lifecycle.diff import diff_runs

    found = diff_runs(names[0], names[1])
    if options.json:
        _print(found)
    else:
        print(show_diff(found))
    return 0


def show_diff(found: Mapping[str, Any]) -> str:
    """Two runs, part by part; a part in which nothing differs is one line."""
    lines = [f"{found['a']} -> {found['b']}", *_section("recipe", found["recipe"]), *_data(found["data"])]
    lines += [*_section("base", found["base"]), *_section("environment", found["environment"])]
    return "\n".join([*lines, *_results(found["results"])])


def _section(title: str, differences: Sequence[Mapping[str, Any]]) -> list[str]:
    if not differences:
        return [f"{title:<12} the same"]
    lines = [f"  {each['what']}: {_value(each['before'])} -> {_value(each['now'])}" for each in differences[:SHOWN]]
    if len(differences) > SHOWN:
        lines.append("  … more with --json")
    return [title, *lines]


def _data(data: Mapping[str, Any]) -> list[str]:
    if data["same"] and data["same_split"]:
        return [f"{'data':<12} the same rows in the same parts ({_value(data['before'])})"]
    counts = data["counts"]
    said = (
        f"rows: {counts['added']:,} added, {counts['removed']:,} removed, {counts['relabelled']:,} relabelled"
        if counts
        else f"not compared: {data['reason']}"
    )
    lines = ["data", f"  version: {_value(data['before'])} -> {_value(data['after'])}: {said}"]
    if data["same"]:
        lines.append("  the rows are split into other parts")
    return lines


def _results(results: Mapping[str, Any]) -> list[str]:
    from burnish.evaluation import wording

    lines = ["results"]
    if "sentence" in results:
        lines.append(f"  {results['sentence']} (n = {results['n']:,})")
    else:
        lines.append(f"  not compared row by row: {results['reason']}")
    for metric in dict.fromkeys([*results["models"]["a"], *results["models"]["b"]]):
        sides = (results["models"][side].get(metric) for side in "ab")
        shown = " -> ".join(
            f"{wording.figure(metric, (s or {}).get('value'))} ({wording.interval(metric, s)})" for s in sides
        )
        lines.append(f"  {wording.metric_title(metric)}: {shown}")
    return lines


def _value(value: Any) -> str:
    """A value in a line: hashes by their beginning."""
    text = "–" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else excerpt(text, WIDTH)


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a number of 1 or more: {text!r}")
    return int(text)


def _print(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))
