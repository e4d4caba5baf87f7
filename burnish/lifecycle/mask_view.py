"""`burnish check --show-mask`: conversations as the model will read them, with what it learns of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from burnish.data.prepare import PreparedData
from burnish.errors import UsageError
from burnish.lifecycle.chat_bench import LONGEST, build_task
from burnish.model.find import find_base
from burnish.model.load import load_tokenizer
from burnish.model.template import RefusedConversationError, find_template
from burnish.recipe.schema import Recipe
from burnish.settings import settings
from burnish.task.chat import Chat
from burnish.task.mask import Masker, Segment, UnmaskableError
from burnish.task.preference import Preference, UnpairedPreference
from burnish.types import Example, Refusal, Split


def masks(data: PreparedData, recipe: Recipe, folder: Path, *, base: str | None, count: int) -> list[dict[str, Any]]:
    """The first training rows with what is learned of them.

    Args:
        base: whose template and tokenizer are used; None: the recipe's.

    Returns:
        {"place", "tokens", "learned", "pieces": [[text, learned], ...]} for each row, segments one after the other;
        {"place", "refused"} for one that cannot be learned from.

    Raises:
        UsageError: [cli/no-conversations] when the rows are no conversations.
        ModelError: [model/no-template] and those of finding a base.
    """
    rows = data.found[Split.TRAIN][:count]
    columns = set(rows[0].row) if rows else set()
    if not {"messages", "text", "prompt"} & columns or {"text", "label"} <= columns:
        raise UsageError(
            "cli/no-conversations",
            "only conversations, compared answers and texts for a language model have a mask",
            where="--show-mask",
            hint="leave it out",
        )
    model = recipe.model.model_copy(update={"base": base}) if base else recipe.model
    found = find_base(model, recipe_folder=Path() if base else folder, runs=settings().runs)
    masker = Masker(find_template(found.folder, recipe.model.chat_template), load_tokenizer(found.folder))
    limit = min(found.context, recipe.model.max_length or LONGEST)
    task = build_task(_task_of(columns), masker, recipe, limit)
    return [_shown(task, example) for example in rows]


def _task_of(columns: set[str]) -> type[Chat] | type[Preference]:
    if "prompt" not in columns:
        return Chat
    return UnpairedPreference if "completion" in columns else Preference


def _shown(task: Any, example: Example) -> dict[str, Any]:
    place = str(example.origin)
    try:
        segments = task.segments(example.row) if isinstance(task, Chat) else task.answers(example.row)
        if isinstance(segments, Refusal):
            return {"place": place, "refused": segments.reason}
    except (UnmaskableError, RefusedConversationError) as refused:
        return {"place": place, "refused": str(refused)}
    return {
        "place": place,
        "tokens": sum(segment.length for segment in segments),
        "learned": sum(int(segment.learned.sum()) for segment in segments),
        "pieces": [piece for segment in segments for piece in _pieces(task, segment)],
    }


def _pieces(task: Any, segment: Segment) -> list[tuple[str, bool]]:
    """Runs of tokens that are learned, and that are not, as texts."""
    pieces = []
    for learned, places in groupby(range(segment.length), key=lambda place: bool(segment.learned[place])):
        ids: Sequence[int] = segment.token_ids[np.array(list(places))].tolist()
        pieces.append((task.masker.tokenizer.decode(ids, skip_special_tokens=False), learned))
    return pieces
