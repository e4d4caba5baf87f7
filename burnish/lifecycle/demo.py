"""`burnish demo`: messages to a support desk, and who has to act next."""

from __future__ import annotations

from importlib import resources

from burnish.recipe.read import build_recipe
from burnish.recipe.schema import Recipe


def demo_recipe() -> Recipe:
    """The recipe of the demo, on the data that comes with the package.

    3,000 messages written for it. The label is a judgement (does support, the customer or nobody have to move
    next?), which topic words do not give away; the training file has the faults of real ones: duplicates, wrong
    labels, rare "nobody".
    """
    folder = resources.files("burnish.data") / "demo"
    tree = {
        "task": "text-classification",
        "model": {"base": "minilm"},
        "data": {
            "train": str(folder / "train.csv"),
            "test": str(folder / "test.csv"),
            "columns": {"text": "message", "label": "next_action"},
        },
        "method": "full",
        "training": {"epochs": 2, "evaluate_every_steps": 48},
        "evaluation": {"goals": ["macro-f1 >= 0.85", "recall[support] >= 0.90"]},
    }
    return build_recipe(tree, source="the demo's recipe")
