"""What must hold before an alias means a model: each gate reads the stored version and says yes or no with a reason.

register_gate("size", lambda version, run: Gate("size", version.size_bytes < 10**9, "it has ... bytes"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from burnish.errors import LicenseError
from burnish.evaluation import wording
from burnish.evaluation.gates import Gate
from burnish.model.license import require_named_use
from burnish.registry.version import Version
from burnish.storage.run_folder import RunFolder

PromotionGate = Callable[[Version, RunFolder], Gate | Iterable[Gate]]
ALWAYS = ("license",)  # gates in front of an alias for models that still await their tests


def judge_gates(version: Version, run: RunFolder, *, only: Iterable[str] | None = None) -> list[Gate]:
    """What every gate says of a stored version, in the order the gates were registered.

    Args:
        run: the version's folder, verified.
        only: names of gates; None: all.
    """
    found: list[Gate] = []
    for name, gate in GATES.items():
        if only is None or name in only:
            said = gate(version, run)
            found += [said] if isinstance(said, Gate) else said
    return found


def register_gate(name: str, gate: PromotionGate) -> None:
    """Adds a gate of your own; a known name is replaced."""
    GATES[name] = gate


def _verdict(version: Version, run: RunFolder) -> Gate:
    if not run.evaluation.is_file():
        advice = "Judge it first: burnish evaluate RUN, or train it with burnish."
        return Gate("verdict", False, "It was never judged against its base.", advice)
    verdict = run.content(run.evaluation)["verdict"]
    gain = f"{wording.signed(verdict['metric'], verdict['difference'])} ({wording.signed_interval(verdict)})"
    reason = f"The verdict is {verdict['answer']}: {wording.metric_title(verdict['metric'])} {gain}, "
    reason += f"against {wording.arm_title(verdict['against'])}."
    passed = verdict["answer"] == "better"
    return Gate("verdict", passed, reason, "" if passed else str(verdict["advice"]))


def _goals(version: Version, run: RunFolder) -> Gate:
    goals = run.content(run.evaluation).get("goals", []) if run.evaluation.is_file() else []
    missed = [str(goal["goal"]) for goal in goals if not goal["reached"]]
    if not goals:
        return Gate("goals", True, "The recipe states no goals.")
    if missed:
        advice = "Train on, or change evaluation.goals in the recipe and judge again."
        return Gate("goals", False, f"Not reached: {', '.join(missed)}.", advice)
    return Gate("goals", True, f"All {len(goals)} goals are reached.")


def _of_the_evaluation(version: Version, run: RunFolder) -> list[Gate]:
    """Forgetting, groups and whatever else was judged with the run."""
    found = run.content(run.evaluation).get("gates", []) if run.evaluation.is_file() else []
    return [Gate(**gate) for gate in found]


def _license(version: Version, run: RunFolder) -> Gate:
    license_ = run.manifest().get("license") or {}
    if license_.get("use") is None:
        return Gate("license", True, "model.use is null: the license was not checked against a use.")
    name = str((run.manifest().get("base") or {}).get("name"))
    try:
        require_named_use(name, license_.get("name"), license_.get("written_in"), license_["use"])
    except LicenseError as error:
        return Gate("license", False, f"{error.message}.", error.hint or "")
    return Gate("license", True, f"{license_['name']} allows {license_['use']} use.")


GATES: dict[str, PromotionGate] = {
    "verdict": _verdict,
    "goals": _goals,
    "evaluation": _of_the_evaluation,
    "license": _license,
}
