"""The trials of a sweep: who asks for the next one, what becomes of those whose process died, when it is enough.

Optuna chooses the values (TPE) and says what is hopeless (Hyperband). Its journal is a file of JSON lines that several
processes write to.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import RunError, UsageError
from burnish.lifecycle.trial import Ground, attempt, recipe_of_trial
from burnish.recipe.space import Dimension, Value
from burnish.storage.durable import make_folder
from burnish.storage.lock import exclusive

REDUCTION = 3  # Hyperband: about a third of the trials go on from rung to rung (Li et al. 2018, arXiv:1603.06560)
FEWEST_GUESSES = 5  # trials drawn at random before the sampler (TPE, Bergstra et al. 2011) learns from them
NAMED_WITHIN_SECONDS = 60.0  # a trial that no process has put its name to by then lost its process
WAIT_SECONDS = 2.0  # between looks at what other processes work on


def require_optuna() -> Any:
    """The library, which is an extra.

    Raises:
        UsageError: [sweep/no-optuna].
    """
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "sweep/no-optuna", "a sweep needs optuna", where="burnish sweep", hint="pip install 'burnish[sweep]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_study(place: Path, *, higher: bool, seed: int, trials: int, evaluations: int) -> Any:
    """The Optuna study of a sweep's folder, with what it knows already.

    Args:
        higher: whether a higher value is better.
        evaluations: of a trial that comes to its end.
    """
    from optuna import create_study, pruners, samplers
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = str(place / "journal.log")
    return create_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))),
        direction="maximize" if higher else "minimize",
        sampler=samplers.TPESampler(seed=seed, n_startup_trials=max(FEWEST_GUESSES, trials // 4)),
        pruner=pruners.HyperbandPruner(max_resource=evaluations, reduction_factor=REDUCTION),
        load_if_exists=True,
    )


def search(study: Any, ground: Ground, space: Sequence[Dimension], first: Mapping[str, Value], trials: int) -> None:
    """Attempts until `trials` are done, those of other processes counted; ends when none is left at work."""
    with _own_place(ground.place / "processes") as process:
        if not study.trials:
            study.enqueue_trial(dict(first), skip_if_exists=True)
        while True:
            _give_back(study, ground.place / "processes")
            done, working = _counted(study)
            if done + working < trials:
                trial = study.ask()
                trial.set_user_attr("process", process)
                ground.progress.stage(f"trial {done + working + 1} of {trials}")
                _attempt(study, trial, ground, space)
            elif working:
                time.sleep(WAIT_SECONDS)
            else:
                return


@contextlib.contextmanager
def in_turn(place: Path) -> Iterator[None]:
    """Waits for the lock of the sweep's folder: one process trains the winner, the others find it there."""
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(exclusive(place))
            except RunError:
                time.sleep(WAIT_SECONDS)
                continue
            yield
            return


@contextlib.contextmanager
def _own_place(processes: Path) -> Iterator[str]:
    """A name for this process that no other one had; its lock dies with the process."""
    name = secrets.token_hex(4)
    make_folder(processes / name)
    with exclusive(processes / name):
        yield name


def _counted(study: Any) -> tuple[int, int]:
    """Trials that came to an end, and those that processes are working on."""
    states = [(trial.state.name, trial.user_attrs) for trial in study.get_trials(deepcopy=False)]
    return sum("found" in attributes for _, attributes in states), sum(name == "RUNNING" for name, _ in states)


def _give_back(study: Any, processes: Path) -> None:
    """Trials whose process died are asked for again, with the same values: they go on from their checkpoint."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process, found = trial.user_attrs.get("process"), trial.user_attrs.get("found")
        if process is None:  # it is named right after the trial was asked for
            died = time.time() - trial.datetime_start.timestamp() > NAMED_WITHIN_SECONDS
        else:
            died = _is_free(processes / process)
        if died and found is not None:
            _tell(study, trial.number, found)
        elif died:
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(dict(trial.params))


def _is_free(place: Path) -> bool:
    try:
        with exclusive(place):
            return True
    except RunError:
        return False


def _attempt(study: Any, trial: Any, ground: Ground, space: Sequence[Dimension]) -> None:
    from optuna.trial import TrialState

    values = _suggested(trial, space, ground)
    ground.progress.note(", ".join(f"{field} {_short(value)}" for field, value in values.items()))

    def report(step: int, value: float) -> bool:
        trial.report(value, step)
        return bool(trial.should_prune())

    try:
        found = attempt(ground, values, report)
    except RunError as error:
        if error.code != "run/locked":
            raise
        study.tell(trial, state=TrialState.FAIL)  # another process has the same values at work
        time.sleep(WAIT_SECONDS)
        return
    trial.set_user_attr("found", found)
    _tell(study, trial.number, found)


def _tell(study: Any, number: int, found: Mapping[str, Any]) -> None:
    """How a trial ended."""
    from optuna.trial import TrialState

    if found["state"] == "complete":
        study.tell(number, found["value"])
    else:
        study.tell(number, state=TrialState.PRUNED if found["state"] == "pruned" else TrialState.FAIL)


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _suggested(trial: Any, space: Sequence[Dimension], ground: Ground) -> dict[str, Value]:
    """The sampler's values of all fields that the trial's method has."""
    values: dict[str, Value] = {}
    for dimension in space:
        if dimension.field.startswith("method.") and not _has(ground, values, dimension.field):
            continue
        if dimension.choices:
            values[dimension.field] = trial.suggest_categorical(dimension.field, dimension.choices)
        elif dimension.whole:
            ends = int(dimension.low), int(dimension.high)
            values[dimension.field] = trial.suggest_int(dimension.field, *ends, log=dimension.logarithmic)
        else:
            ends_of = dimension.low, dimension.high
            values[dimension.field] = trial.suggest_float(dimension.field, *ends_of, log=dimension.logarithmic)
    return values


def _has(ground: Ground, values: Mapping[str, Value], field: str) -> bool:
    method = recipe_of_trial(ground, values).method
    return method is not None and field.removeprefix("method.") in type(method).model_fields
