"""Gradient-boosted trees as LightGBM writes them: a text, which is read with as much care as weights are.

LightGBM trusts such a text: a node that points outside of its tree would make it read memory that is not its own, and
one that points back would keep it busy for ever. So the structure is checked here before LightGBM sees it.

Shapes: N rows, I inputs, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from burnish.errors import ModelError, UsageError

Array = np.ndarray[Any, Any]

MAX_BYTES = 512 * 1024**2  # of a text; ten thousand trees of 63 leaves have 60 MB
HEADER, END = "tree\nversion=v4\n", "\nend of trees\n"
OF_NODES, OF_LEAVES = (
    ("split_gain", "internal_value", "internal_weight", "internal_count"),
    ("leaf_weight", "leaf_count"),
)
OBJECTIVES = ("binary sigmoid:1", "multiclass num_class:{outputs}", "regression")


class Trees:
    """Trees that predict.

    Args:
        text: what `plain_text` leaves of a model of LightGBM's, sound by `require_sound`.
        threads: that LightGBM uses.
    """

    def __init__(self, text: str, *, threads: int = 1) -> None:
        self.text = text
        self.threads = threads
        self._booster = lightgbm().Booster(model_str=text)

    def predict(self, inputs_NI: Array) -> Array:
        """(N, C) probabilities, or (N,) numbers where the trees were fitted to numbers."""
        found: Array = np.asarray(self._booster.predict(inputs_NI, num_threads=self.threads))
        binary = "objective=binary" in self.text.partition("\nTree=0\n")[0]
        return np.stack([1 - found, found], axis=1) if binary else found


def load_trees(path: Path, *, inputs: int, outputs: int) -> Trees:
    """Trees from their file, whose bytes the caller has compared with their manifest.

    Args:
        inputs: I that the table gives.
        outputs: numbers per row: 1 for two classes and for numbers, else the classes.

    Raises:
        ModelError: [model/bad-file] when the text is not a sound model of so many inputs and outputs;
            [model/file-too-large].
        UsageError: [model/not-installed] without LightGBM.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ModelError(
            "model/file-too-large",
            f"{size / 1e6:,.0f} MB are more than trees of burnish's ever have ({MAX_BYTES / 1e6:,.0f} MB)",
            where=str(path),
            hint="train again, or restore the folder from a copy",
        )
    try:
        text = path.read_text(encoding="utf-8")
        require_sound(text, inputs=inputs, outputs=outputs)
        return Trees(text)
    except (ValueError, KeyError, lightgbm().basic.LightGBMError) as error:
        raise ModelError(
            "model/bad-file", f"not trees that burnish wrote: {error}", where=str(path), hint="train again"
        ) from error


def plain_text(text: str) -> str:
    """The trees of a text of LightGBM's and no more.

    Left out are the places where each tree begins, to which LightGBM would jump unseen, and the settings of the
    training.
    """
    head, mark, rest = text.partition("\nTree=0\n")
    lines = [line for line in head.split("\n") if not line.startswith("tree_sizes=")]
    return "\n".join(lines) + mark + rest.partition(END)[0] + END


def require_sound(text: str, *, inputs: int, outputs: int) -> None:
    """Raises ValueError or KeyError unless the text is a model whose every node leads on to a leaf."""
    if not text.startswith(HEADER) or text.find(END) != len(text) - len(END):
        raise ValueError("it does not begin and end as trees of LightGBM 4")
    head, *blocks = text.removesuffix(END).split("\nTree=")
    header = dict(_fields(head))
    expected = {
        "max_feature_idx": str(inputs - 1),
        "num_tree_per_iteration": str(outputs),
        "num_class": str(outputs),
    }
    for name, value in expected.items():
        if header[name] != value:
            raise ValueError(f"{name} is {header[name][:20]} instead of {value}")
    if header["objective"] not in [objective.format(outputs=outputs) for objective in OBJECTIVES]:
        raise ValueError("its objective is another one")
    if "tree_sizes" in header:
        raise ValueError("it says where its trees begin")
    if not blocks or len(blocks) % outputs:
        raise ValueError("trees are missing")
    for number, block in enumerate(blocks):
        name, _, lines = block.partition("\n")
        if name != str(number):
            raise ValueError(f"tree {number} is missing")
        _require_sound_tree(dict(_fields(lines)), inputs)


def _require_sound_tree(tree: Mapping[str, str], inputs: int) -> None:
    leaves, categorical = int(tree["num_leaves"]), int(tree["num_cat"])
    if not 1 <= leaves <= 2**16 or tree["is_linear"] != "0":
        raise ValueError(f"a tree of {leaves} leaves, or one with formulas in its leaves")
    _numbers(tree, "leaf_value", leaves, float)
    if leaves == 1:
        return
    nodes = leaves - 1
    for name in (*OF_NODES, *OF_LEAVES):
        if name in tree:
            _numbers(tree, name, nodes if name in OF_NODES else leaves, float)
    children = _numbers(tree, "left_child", nodes, int) + _numbers(tree, "right_child", nodes, int)
    for place, child in enumerate(children):
        if child >= 0 and child <= place % nodes:
            raise ValueError(f"node {place % nodes} leads back to {child}")
    if sorted(children) != [*range(-leaves, 0), *range(1, nodes)]:
        raise ValueError("its nodes are no tree")
    if not all(0 <= feature < inputs for feature in _numbers(tree, "split_feature", nodes, int)):
        raise ValueError("a node reads an input that does not exist")
    kinds = _numbers(tree, "decision_type", nodes, int)
    thresholds = _numbers(tree, "threshold", nodes, float)
    ends = _numbers(tree, "cat_boundaries", categorical + 1, int) if categorical else [0]
    if categorical and (ends[0] != 0 or sorted(ends) != ends):
        raise ValueError("the sets of its categories overlap")
    _numbers(tree, "cat_threshold", ends[-1], int)
    for kind, threshold in zip(kinds, thresholds, strict=True):
        if kind & 1 and not (threshold.is_integer() and 0 <= threshold < categorical):
            raise ValueError("a node asks for a set of categories that does not exist")


def _numbers(tree: Mapping[str, str], name: str, count: int, kind: type) -> list[Any]:
    """`count` numbers of a field, which may be left out where there are none."""
    found = [kind(value) for value in (tree[name] if count else tree.get(name, "")).split()]
    if len(found) != count:
        raise ValueError(f"{name} has {len(found)} entries instead of {count}")
    return found


def _fields(lines: str) -> Iterator[tuple[str, str]]:
    for line in lines.split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            yield name, value


def lightgbm() -> Any:
    """The library.

    Raises:
        UsageError: [model/not-installed].
    """
    try:
        import lightgbm as library
    except ImportError:
        raise UsageError(
            "model/not-installed",
            "a table is judged against gradient-boosted trees, and LightGBM is not installed",
            hint="pip install 'burnish[tabular]'",
        ) from None
    return library
