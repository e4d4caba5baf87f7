"""Trees as a text: what LightGBM wrote is read again, and what it did not write is refused before it is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.errors import ModelError, UsageError
from burnish.method.trees import choose_trees
from burnish.model import trees as module
from burnish.model.trees import Trees, lightgbm, load_trees, require_sound

INPUTS = 3


def fitted(classes: int) -> tuple[Trees, np.ndarray]:
    """Trees over two numbers and a category, and the rows they were fitted to."""
    random = np.random.default_rng(0)
    inputs = np.column_stack([random.normal(0, 1, (900, 2)), random.integers(0, 6, 900)])
    inputs[::9, 0] = np.nan
    score = np.nan_to_num(inputs[:, 0]) + 3 * (inputs[:, 2] % 3)
    targets = score if not classes else np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))
    noise = random.permutation(targets)  # nothing holds for it, so that a few rounds are enough
    options: Any = {"classes": classes, "categorical": [2], "seed": 1, "threads": 1}
    return choose_trees(inputs, targets, inputs, noise, lambda _: 0.0, **options).trees, inputs


@pytest.fixture(scope="module")
def binary() -> tuple[Trees, np.ndarray]:
    return fitted(2)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_trees_predict_the_same_from_their_file(classes: int, tmp_path: Path) -> None:
    trees, inputs = fitted(classes)
    path = tmp_path / "trees.txt"
    path.write_text(trees.text, encoding="utf-8")
    again = load_trees(path, inputs=INPUTS, outputs=classes if classes > 2 else 1)
    assert np.array_equal(again.predict(inputs), trees.predict(inputs))
    shape = (900, classes) if classes else (900,)
    assert trees.predict(inputs).shape == shape
    if classes:
        assert trees.predict(inputs).sum(axis=1) == pytest.approx(np.ones(900))


def test_the_text_holds_trees_and_no_more(binary: tuple[Trees, np.ndarray]) -> None:
    text = binary[0].text
    assert text.startswith("tree\nversion=v4\n")
    assert text.endswith("\nend of trees\n")
    assert "tree_sizes" not in text
    assert "parameters" not in text


def changed(text: str, field: str, change: str) -> str:
    """The text with another value in the first line of a field."""
    head, mark, rest = text.partition(f"\n{field}=")
    old, newline, more = rest.partition("\n")
    first, *others = old.split(" ")
    del first
    return head + mark + " ".join([change, *others]) + newline + more


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("left_child", "0", "leads back"),
        ("left_child", "99999", "no tree"),
        ("right_child", "-9999", "no tree"),
        ("split_feature", "3", "input that does not exist"),
        ("split_feature", "-1", "input that does not exist"),
        ("num_leaves", "3", "entries instead of"),
        ("num_leaves", "-1", "a tree of -1 leaves"),
        ("is_linear", "1", "formulas"),
        ("max_feature_idx", "7", "max_feature_idx is 7 instead of 2"),
        ("num_tree_per_iteration", "2", "num_tree_per_iteration is 2"),
        ("objective", "custom", "objective"),
        ("leaf_value", "many", "could not convert"),
        ("cat_boundaries", "9", "overlap"),
    ],
)
def test_a_text_that_would_lead_astray_is_refused(
    binary: tuple[Trees, np.ndarray], tmp_path: Path, field: str, value: str, said: str
) -> None:
    path = tmp_path / "trees.txt"
    path.write_text(changed(binary[0].text, field, value), encoding="utf-8")
    with pytest.raises(ModelError, match=said) as caught:
        load_trees(path, inputs=INPUTS, outputs=1)
    assert caught.value.code == "model/bad-file"
    assert caught.value.where == str(path)
    assert caught.value.hint == "train again"


@pytest.mark.parametrize(
    "text", ["", "tree\n", "tree\nversion=v4\n\nend of trees\n", "\x00" * 100, "tree\nversion=v3\n\nend of trees\n"]
)
def test_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trees.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        load_trees(path, inputs=INPUTS, outputs=1)
    assert caught.value.code == "model/bad-file"


def test_a_cut_text_is_refused(binary: tuple[Trees, np.ndarray]) -> None:
    text = binary[0].text
    for size in range(0, len(text), len(text) // 40):
        with pytest.raises((ValueError, KeyError)):
            require_sound(text[:size], inputs=INPUTS, outputs=1)


def test_changed_bytes_never_get_past_unless_they_are_a_sound_model(binary: tuple[Trees, np.ndarray]) -> None:
    text, inputs = binary[0].text, binary[1]
    random = np.random.default_rng(3)
    passed = 0
    for place in random.integers(len("tree\nversion=v4\n"), len(text), 300).tolist():
        damaged = text[:place] + chr(int(random.integers(32, 127))) + text[place + 1 :]
        try:
            require_sound(damaged, inputs=INPUTS, outputs=1)
            Trees(damaged).predict(inputs[:3])
            passed += 1
        except (ValueError, KeyError, lightgbm().basic.LightGBMError):
            continue
    assert passed > 0  # digits of a leaf's value may change; that is what the manifest's sha256 is for


def test_a_text_that_is_far_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trees.txt"
    path.write_text("tree\n" * 10, encoding="utf-8")
    monkeypatch.setattr(module, "MAX_BYTES", 20)
    with pytest.raises(ModelError) as caught:
        load_trees(path, inputs=INPUTS, outputs=1)
    assert caught.value.code == "model/file-too-large"
    assert caught.value.where == str(path)


def test_without_lightgbm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UsageError) as caught:
        lightgbm()
    assert caught.value.code == "model/not-installed"
    assert caught.value.hint == "pip install 'burnish[tabular]'"
