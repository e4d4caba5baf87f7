"""What each command does: call lifecycle, print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from burnish.cli import (
    backup,
    compare,
    curve,
    export,
    gc,
    import_model,
    import_openai,
    keys,
    log,
    monitor,
    plan,
    reproduce,
    runs,
    serve,
    sweep,
    verify,
    worker,
)
from burnish.cli.audit import audit
from burnish.cli.budget import budget_of
from burnish.cli.data_commands import augment, datasets, forget
from burnish.cli.judge import judge, require_judge
from burnish.cli.models import models
from burnish.cli.progress import TerminalProgress
from burnish.cli.show import (
    show_check,
    show_explanation,
    show_prediction,
    show_verdict,
    shown_lines,
)
from burnish.errors import DataReadError, GoalNotReachedError, UsageError
from burnish.evaluation.gates import stopped_by
from burnish.lifecycle.follow import follows
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder


def demo(options: argparse.Namespace) -> int:
    from burnish.lifecycle.demo import demo_recipe
    from burnish.lifecycle.train import train

    run = train(
        demo_recipe(),
        overrides=options.set,
        seed=options.seed,
        output=options.output,
        progress=TerminalProgress(),
    )
    return _finish(run, options)


def init(options: argparse.Namespace) -> int:
    from burnish.lifecycle.init import write_recipe

    seen = write_recipe(Path(options.data), Path(options.output))
    if options.json:
        _print_json(seen)
    else:
        print(seen["recipe"])
        for line in seen["notes"]:
            print(f"  {line}", file=sys.stderr)
        print(f"  train with: burnish train {options.output}", file=sys.stderr)
    return 0


def check(options: argparse.Namespace) -> int:
    from burnish.lifecycle.check import check_data

    found = check_data(
        options.source,
        test=options.test,
        task=options.task,
        overrides=options.set,
        like=options.like,
        groups=options.group,
        base=options.base,
        deep=options.deep,
        show_mask=options.show_mask,
        moderator=options.moderator,
        unsafe_labels=options.unsafe_label,
        progress=TerminalProgress(),
    )
    if options.html:
        from burnish.evaluation.report_check import render_check
        from burnish.storage.durable import write_text

        write_text(Path(options.html), render_check(found))
    if options.json:
        _print_json(found)
    else:
        print(show_check(found))
    bad = any(finding["severity"] == "error" for finding in found["findings"])
    return 1 if found["problems"] or bad else 0


def train(options: argparse.Namespace) -> int:
    from burnish.lifecycle.train import recipe_of
    from burnish.lifecycle.train import train as train_

    if options.resume and options.output is None:
        raise UsageError(
            "cli/resume-needs-output",
            "--resume goes on in a folder",
            where="--resume",
            hint="name it with --output DIR",
        )
    if options.require == "goals" and not options.resume:
        recipe, _ = recipe_of(options.source, test=options.test, overrides=options.set, seed=options.seed)
        _need_goals(recipe.evaluation.goals)
    run = train_(
        options.source,
        test=options.test,
        overrides=[*options.set, *(f"training.{field}={value}" for field, value in budget_of(options).items())],
        seed=options.seed,
        output=options.output,
        resume=options.resume,
        progress=TerminalProgress(),
    )
    return _finish(run, options)


def resume(options: argparse.Namespace) -> int:
    from burnish.lifecycle.control import resume_changed
    from burnish.lifecycle.train import resume_run
    from burnish.registry.runs import find_run

    folder = find_run(options.run, settings().runs, to_change=not (options.set and options.output))
    budget = budget_of(options)
    if options.set:
        output = Path(options.output) if options.output else None
        changes = [*options.set, *(f"training.{field}={value}" for field, value in budget.items())]
        return _finish(resume_changed(folder, changes, output=output, progress=TerminalProgress()), options)
    if options.output:
        raise UsageError(
            "cli/output-needs-set", "a run goes on in its own folder", where="--output", hint="leave --output out"
        )
    return _finish(resume_run(folder, budget=budget, progress=TerminalProgress()), options)


def pause(options: argparse.Namespace) -> int:
    return _stop(options, "pause")


def cancel(options: argparse.Namespace) -> int:
    return _stop(options, "cancel")


def _stop(options: argparse.Namespace, what: Literal["pause", "cancel"]) -> int:
    from burnish.lifecycle.control import stop_run
    from burnish.registry.runs import find_run

    folder = find_run(options.run, settings().runs, to_change=True)
    _show_status(folder, stop_run(folder, what, progress=TerminalProgress()), options)
    return 0


def _show_status(folder: RunFolder, status: str, options: argparse.Namespace) -> None:
    """One line for a run that has not come to a verdict."""
    if options.json:
        _print_json({"id": folder.id, "folder": str(folder.path), "status": status})
        return
    print(f"{status}  {folder.id}")
    if status == "paused":
        print(f"go on with: burnish resume {folder.path}", file=sys.stderr)


def evaluate(options: argparse.Namespace) -> int:
    from burnish.lifecycle.judge import evaluate_run
    from burnish.registry.runs import find_run

    folder = find_run(options.run, settings().runs, to_change=True)
    require_judge(options)
    if options.judge:
        return judge(folder, options)
    evaluation = evaluate_run(folder, data=options.data, runs=settings().runs, progress=TerminalProgress())
    if options.require == "goals":
        _need_goals(evaluation["goals"])
    if options.require == "gates":
        _need_gates(evaluation)
    if options.json:
        _print_json(evaluation)
    else:
        print(show_verdict(evaluation))
    return _require(evaluation, options)


def predict(options: argparse.Namespace) -> int:
    from burnish.lifecycle.runs import explain_texts, load, predict_texts, texts_of, with_unsure

    if options.text:
        texts = list(options.text)
    elif options.data:
        texts = texts_of(options.run, Path(options.data))
    else:
        texts = _lines_of_stdin()
    predictions = predict_texts(options.run, texts, progress=TerminalProgress())
    if options.min_confidence is not None:
        predictions = with_unsure(predictions, options.min_confidence)
    explained = explain_texts(options.run, texts, progress=TerminalProgress()) if options.explain else []
    calibration = load(options.run).calibration
    calibrated = bool(calibration) and not calibration["reason"]
    if options.json:
        asked = [{"text": text} if isinstance(text, str) else text for text in texts]
        shown = [{**a, **p} for a, p in zip(asked, predictions, strict=True)]
        for row, why in zip(shown, explained, strict=False):
            row["explanation"] = why
        _print_json({"predictions": shown} | ({"calibration": calibration} if calibrated else {}))
        return 0
    if calibrated:
        print(f"probabilities are calibrated on {calibration['n']:,} validation rows", file=sys.stderr)
    for index, (text, prediction) in enumerate(zip(texts, predictions, strict=True)):
        print(show_prediction(text, prediction))
        if explained:
            print(show_explanation(explained[index]))
    return 0


def chat(options: argparse.Namespace) -> int:
    from burnish.lifecycle.chat import open_talk
    from burnish.model.generate import Sampling

    sampling = Sampling(
        max_new_tokens=options.max_new_tokens, temperature=options.temperature, seed=options.seed or Sampling().seed
    )
    talk = open_talk(options.run, base=options.base, system=options.system, sampling=sampling)
    texts = [options.text] if options.text else _said()
    answered = []
    for text in texts:
        answers = talk.say(text)
        answered.append({"user": text, **answers})
        if not options.json:
            several = len(answers) > 1
            for name, answer in answers.items():
                print(f"{f'{name}: ' if several else ''}{shown_lines(answer)}", flush=True)
    if options.json:
        _print_json({"turns": answered})
    return 0


def _said() -> Iterator[str]:
    """What a person types, line by line, until an empty line or the end; an invitation where there is a terminal."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()


def _finish(run: Any, options: argparse.Namespace) -> int:
    """Prints verdict, id and folder of a finished run; the status of one that was paused or cancelled."""
    if follows():  # rank 0 speaks
        return 0
    if run.status in ("paused", "cancelled"):
        _show_status(run.folder, run.status, options)
        return 0
    evaluation = run.evaluation
    stopped = str(run.folder.manifest()["training"]["stopped"])
    if stopped.startswith("budget"):
        print(f"stopped by its {stopped}; the best checkpoint so far was judged", file=sys.stderr)
    if options.require == "goals":
        _need_goals(evaluation["goals"])
    if options.require == "gates":
        _need_gates(evaluation)
    if options.json:
        shown = {
            "id": run.id,
            "folder": str(run.path),
            "status": run.status,
            "stopped": stopped,
            "report": str(run.report),
            "final": str(run.folder.final),
            "verdict": evaluation["verdict"],
            "models": evaluation["models"],
            "goals": evaluation.get("goals", []),
            "gates": evaluation.get("gates", []),
        }
        _print_json(shown)
    else:
        print(show_verdict(evaluation))
        print(f"\nrun     {run.id}\nfolder  {run.path}\nreport  {run.report}\nmodel   {run.folder.final}")
    return _require(evaluation, options)


def _require(evaluation: dict[str, Any], options: argparse.Namespace) -> int:
    """Turns a missed --require into exit code 1; the result is printed already."""
    wanted = options.require
    answer = evaluation["verdict"]["answer"]
    if wanted == "better" and answer != "better":
        raise GoalNotReachedError("verdict/not-better", f'the verdict is "{answer}"', where="--require better")
    missed = [goal["goal"] for goal in evaluation["goals"] if not goal["reached"]]
    if wanted == "goals" and missed:
        raise GoalNotReachedError("verdict/goals-missed", f"not reached: {', '.join(missed)}", where="--require goals")
    if wanted == "gates":
        _require_gates(evaluation)
    return 0


def _require_gates(evaluation: dict[str, Any]) -> None:
    if stopped := stopped_by(evaluation):
        raise GoalNotReachedError(
            "verdict/gates-not-passed",
            f"not passed: {', '.join(gate['name'] for gate in stopped)}",
            where="--require gates",
            details=[gate["reason"] for gate in stopped],
            hint=stopped[0]["advice"] or None,
        )


def _need_goals(goals: Sequence[object]) -> None:
    if not goals:
        raise UsageError(
            "verdict/no-goals",
            "the recipe states no goals",
            where="--require goals",
            hint='evaluation: {goals: ["macro-f1 >= 0.90"]}',
        )


def _need_gates(evaluation: dict[str, Any]) -> None:
    if not evaluation.get("gates"):
        raise UsageError(
            "verdict/no-gates",
            "this run was judged by no gate",
            where="--require gates",
            hint="evaluation: {forgetting: {probes: shipped}}",
        )


def _lines_of_stdin() -> list[str]:
    try:
        return [line.rstrip("\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise DataReadError(
            "data/wrong-encoding",
            f"byte 0x{error.object[error.start]:02x} is not {error.encoding} text",
            where="stdin",
            hint="convert it first: `iconv -f cp1252 -t UTF-8`",
        ) from None


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "demo": demo,
    "init": init,
    "check": check,
    "plan": plan.run,
    "curve": curve.run,
    "sweep": sweep.run,
    "train": train,
    "resume": resume,
    "pause": pause,
    "cancel": cancel,
    "evaluate": evaluate,
    "compare": compare.run,
    "predict": predict,
    "chat": chat,
    "reproduce": reproduce.run,
    "import": import_model.run,
    "import-openai": import_openai.run,
    "runs": runs.run,
    "audit": audit,
    "augment": augment,
    "datasets": datasets,
    "forget": forget,
    "models": models,
    "export": export.run,
    "monitor": monitor.run,
    "serve": serve.run,
    "keys": keys.run,
    "log": log.run,
    "backup": backup.run,
    "verify": verify.run,
    "gc": gc.run,
    "worker": worker.run,
}
