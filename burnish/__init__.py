"""Fine-tune a pretrained model on your own rows and get a verdict.

>>> import burnish
>>> run = burnish.train("tickets.csv")                      # doctest: +SKIP
>>> run.verdict["answer"]                                   # doctest: +SKIP
'better'
>>> burnish.load(run.path).predict(["where is my card?"])   # doctest: +SKIP
[{'label': 'card_arrival', 'probability': 0.97, 'margin': 4.1}]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from burnish.errors import BurnishError
    from burnish.lifecycle.advise import plan
    from burnish.lifecycle.compare import compare
    from burnish.lifecycle.curve import curve
    from burnish.lifecycle.export import export
    from burnish.lifecycle.import_model import import_model
    from burnish.lifecycle.monitor import monitor
    from burnish.lifecycle.reproduce import reproduce
    from burnish.lifecycle.run import Run
    from burnish.lifecycle.runs import load
    from burnish.lifecycle.sweep import sweep
    from burnish.lifecycle.train import train
    from burnish.task.text_classification import TextClassification

_HOMES = {
    "BurnishError": "burnish.errors",
    "Run": "burnish.lifecycle.run",
    "TextClassification": "burnish.task.text_classification",
    "compare": "burnish.lifecycle.compare",
    "curve": "burnish.lifecycle.curve",
    "export": "burnish.lifecycle.export",
    "import_model": "burnish.lifecycle.import_model",
    "load": "burnish.lifecycle.runs",
    "monitor": "burnish.lifecycle.monitor",
    "plan": "burnish.lifecycle.advise",
    "reproduce": "burnish.lifecycle.reproduce",
    "sweep": "burnish.lifecycle.sweep",
    "train": "burnish.lifecycle.train",
}
__all__ = [
    "BurnishError",
    "Run",
    "TextClassification",
    "__version__",
    "compare",
    "curve",
    "export",
    "import_model",
    "load",
    "monitor",
    "plan",
    "reproduce",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """Public names are found when they are asked for: `import burnish` stays light."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'burnish' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
