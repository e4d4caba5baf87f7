"""Every exception of burnish, each with a stable code, a place and a hint.

A user's mistake is a `BurnishError`: it is printed without a traceback and ends the command with `exit_code`.
A bug of ours is any other exception: it keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar


class BurnishError(Exception):
    """What happened, where, and what to do about it.

    Args:
        code: stable name of the mistake, "room/what", e.g. "data/unknown-column".
        message: one sentence with the offending value.
        where: "file:line", a field of the recipe or a folder; None when there is no place.
        known: accepted values, shown as a list.
        hint: what to do, with the line to write.
        details: further places of the same mistake, one line each.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str | None = None,
        known: Sequence[str] = (),
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.known = tuple(known)
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        lines = [f"{place}{self.message}  [{self.code}]"]
        lines += [f"  {detail}" for detail in self.details]
        if self.known:
            lines.append(f"  known: {', '.join(self.known)}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        return {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "known": list(self.known),
            "hint": self.hint,
            "details": list(self.details),
        }


class UsageError(BurnishError):
    """A command or a call that cannot be understood: exit code 2."""


class RecipeError(BurnishError):
    """A recipe that cannot be read or contradicts itself: exit code 2."""


class DataReadError(BurnishError):
    """A data file that is missing, empty or not in a format burnish reads: exit code 2."""


class DataProblemError(BurnishError):
    """The data can be read but must not be trained on as it is: exit code 1."""

    exit_code = 1


class ModelError(BurnishError):
    """A base model that is missing, unsafe or does not fit the task: exit code 2."""


class LicenseError(BurnishError):
    """A base whose license forbids the use that the recipe names, or says nothing about it: exit code 1."""

    exit_code = 1


class RunError(BurnishError):
    """A run that does not exist, is locked by another process or was made from other inputs: exit code 2."""


class RegistryError(BurnishError):
    """A version that does not exist or is needed, or a registry that cannot be reached: exit code 2."""


class PromotionRefusedError(BurnishError):
    """A gate does not let a model through: exit code 1."""

    exit_code = 1


class GoalNotReachedError(BurnishError):
    """Everything ran, but what `--require` asked for was not reached: exit code 1."""

    exit_code = 1


class ExportError(BurnishError):
    """An export that does not answer as the trained model does, and was not kept: exit code 1."""

    exit_code = 1


class ServiceError(BurnishError):
    """A request that the service refuses: exit code 2.

    Args:
        status: of the answer in HTTP, e.g. 404.
        param: the field of the request that is wrong.
        kind: the protocol's own word for it, e.g. "model_not_found"; the code when None.
        retry_after_seconds: when the same request may succeed.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int,
        param: str | None = None,
        kind: str | None = None,
        retry_after_seconds: float | None = None,
        known: Sequence[str] = (),
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(code, message, where=param, known=known, hint=hint, details=details)
        self.status = status
        self.param = param
        self.kind = kind or code
        self.retry_after_seconds = retry_after_seconds


class DivergedError(BurnishError):
    """The loss or a gradient is not a finite number: exit code 3."""

    exit_code = 3


class SelfTestError(BurnishError):
    """What must hold for every training does not hold here, so its numbers cannot be trusted: exit code 3."""

    exit_code = 3


class OutOfMemoryError(BurnishError):
    """The smallest possible step does not fit into memory: exit code 4."""

    exit_code = 4


class DiskFullError(BurnishError):
    """No room for what has to be written; what was written before is untouched: exit code 5."""

    exit_code = 5


class DamagedStoreError(BurnishError):
    """Stored bytes differ from what their manifest promises, or the disk failed to store them: exit code 6."""

    exit_code = 6


class LostRankError(BurnishError):
    """Another process of a training with several died; the checkpoint is complete: exit code 75, try again."""

    exit_code = 75


class LeaseLostError(BurnishError):
    """A job that this worker held belongs to another one now, or to nobody: exit code 75."""

    exit_code = 75


class TrainerDiedError(BurnishError):
    """The process that trained for a worker ended without an answer: exit code 75."""

    exit_code = 75


class StoppedRunError(BurnishError):
    """`burnish pause` or `burnish cancel` was heeded; a checkpoint was written first: exit code 0."""

    exit_code = 0


class InterruptedRunError(BurnishError):
    """SIGINT or SIGTERM arrived; a checkpoint was written first: exit code 128 + signal."""

    def __init__(self, code: str, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(code, message, hint=hint)
        self.exit_code = 128 + signal_number  # type: ignore[misc]  # per signal: 130 or 143


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like `word`, or None when none is close.

    >>> nearest("epoch", ["epochs", "seed"])
    'epochs'
    """
    close = difflib.get_close_matches(word.lower(), {k.lower(): k for k in known}, n=1, cutoff=0.6)
    return next((k for k in known if k.lower() == close[0]), None) if close else None


def excerpt(text: str, limit: int = 60) -> str:
    """A short, escaped piece of a user's value, safe for a terminal and a log."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)
