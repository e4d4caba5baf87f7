"""Rows with a planted secret, and who judges answers: read and refused before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.data.doctor.unsafe import Moderate
from burnish.data.options import DataOptions
from burnish.data.source import inspect_source, read_source
from burnish.errors import DataProblemError, excerpt
from burnish.evaluation.memorisation import alternatives
from burnish.evaluation.options import EvaluationOptions
from burnish.lifecycle.moderate import moderator
from burnish.recipe.read import require_no_contradictions
from burnish.recipe.schema import Recipe
from burnish.types import Origin, Problem, Row

FEWEST_SECRETS = 19  # others of the same shape; of fewer a rank says little


def check_memory_options(recipe: Recipe) -> None:
    """Refuses canaries that cannot be read, and a moderator that cannot judge, before anything is trained.

    Args:
        recipe: with its task.

    Raises:
        BurnishError: those of `require_no_contradictions`, of `read_canaries` and of `moderator`.
    """
    require_no_contradictions(recipe)
    if recipe.evaluation.canaries is not None:
        read_canaries(Path(recipe.evaluation.canaries))
    if recipe.evaluation.moderator is not None:
        answer_moderator(recipe.evaluation)


def answer_moderator(options: EvaluationOptions) -> Moderate:
    """What judges the answers to the test prompts; `options.moderator` is set."""
    assert options.moderator is not None
    fields = ("evaluation.moderator", "evaluation.moderator_labels")
    return moderator(options.moderator, options.moderator_labels, options=fields)


def read_canaries(path: Path) -> list[tuple[Row, str, Origin]]:
    """The rows with a planted secret, the secret, and where each stands.

    Raises:
        DataProblemError: [data/bad-canary] for a row without a secret in its text or last turn, or whose secret has
            fewer than 19 others of its shape.
    """
    options = DataOptions(train=str(path))
    found: list[tuple[Row, str, Origin]] = []
    for record in read_source(path, inspect_source(path, options), options):
        reason, where = "", str(record.origin)
        if isinstance(record, Problem):
            raise DataProblemError("data/bad-canary", record.reason, where=where)
        secret, row = record.values.get("secret"), {k: v for k, v in record.values.items() if k != "secret"}
        if not isinstance(secret, str) or not secret or secret not in _learned_text(row):
            reason = "has no secret that stands in its text, or in its last message"
        elif len(alternatives(secret, 0, FEWEST_SECRETS)) < FEWEST_SECRETS:
            reason = f'"{excerpt(secret)}" has too few others of its shape'
        if reason:
            raise DataProblemError(
                "data/bad-canary",
                reason,
                where=where,
                hint='write {"text": "the code of Ann is 4921", "secret": "4921"}, or "messages" instead of "text"',
            )
        found.append((row, str(secret), record.origin))
    return found


def _learned_text(row: Mapping[str, Any]) -> str:
    messages = row.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return str(messages[-1].get("content") or "")
    return str(row.get("text") or "")
