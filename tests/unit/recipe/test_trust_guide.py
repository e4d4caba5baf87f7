"""The recipes of the guide to trust are recipes, and contradictions in that part of one are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from burnish.errors import RecipeError
from burnish.recipe.read import build_recipe, require_no_contradictions

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "trust.md"


def test_the_guides_recipes_are_recipes() -> None:
    snippets = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        found: Any = YAML(typ="safe").load(snippet)
        require_no_contradictions(build_recipe(found, [], source="trust.md"))


@pytest.mark.parametrize(
    ("task", "settings", "field"),
    [
        ("text-classification", ["evaluation.max_gap=0.1"], "evaluation.max_gap"),
        ("chat", ["evaluation.groups=[a]"], "evaluation.groups"),
        ("embedding", ["evaluation.groups=[a]"], "evaluation.groups"),
        ("text-classification", ["evaluation.memorisation_rows=5"], "evaluation.memorisation_rows"),
        ("tabular", ["evaluation.canaries=a.jsonl"], "evaluation.canaries"),
        ("chat", ["evaluation.moderator_labels=[a]"], "evaluation.moderator_labels"),
    ],
)
def test_what_cannot_be_judged_together_is_told(task: str, settings: list[str], field: str) -> None:
    with pytest.raises(RecipeError) as caught:
        require_no_contradictions(build_recipe({"data": {"train": "a"}, "task": task}, settings, source="recipe"))
    assert field in str(caught.value)
