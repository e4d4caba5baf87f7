"""Any bytes give a recipe or a coded error; any recipe reads as itself after it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from burnish.errors import RecipeError
from burnish.method.options import FullOptions, HeadOptions, LoraOptions
from burnish.recipe.read import build_recipe, read_recipe, recipe_text

CODES = {"recipe/bad-yaml", "recipe/invalid", "recipe/bad-override"}
PIECES = [
    *"[]{}:,&*!|>-?#%@`'\"~ \n\t",
    *("data", "train", "training", "epochs", "method", "lora", "null", "true", "2e-5", "<<", "!!int", "!!float"),
    *("!!binary", "!!timestamp", "!!set", "!!omap", "!!python/name:os.system", "---", "...", "\n  ", "\n- ", ": "),
    *("&a", "*a", "<<: *a", "2001-13-01", "0x", "0o9", ".inf", "1_000", "\\ud800", "\u2028", "\u0085", "é", "😀"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe") / "recipe.yaml"


def read_anything(place: Path, content: bytes, *overrides: str) -> None:
    place.write_bytes(content)
    try:
        recipe = read_recipe(place, overrides)
    except RecipeError as error:
        refused = error
    else:
        recipe_text(recipe)
        return
    assert refused.code in CODES
    assert str(refused.where).startswith((str(place), "--set"))
    assert all(line.isprintable() for line in str(refused).split("\n"))


@given(content=st.binary(max_size=200))
@example(b"data: &a {train: *a}")
@example(b"data: &a\n  - *a\n")
@example(b"? &a [*a]\n: 1\n")
def test_any_bytes(place: Path, content: bytes) -> None:
    read_anything(place, content)


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=14))
def test_any_mixture_of_what_yaml_is_made_of(place: Path, pieces: list[str]) -> None:
    read_anything(place, "".join(pieces).encode())
    read_anything(place, f"data: {{train: a.csv}}\ntraining: {''.join(pieces)}".encode())


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=10))
def test_any_override(place: Path, pieces: list[str]) -> None:
    text = "".join(pieces)
    read_anything(place, b"data: {train: a.csv}\n", f"data.label_map={text}")
    read_anything(place, b"data: {train: a.csv}\n", text)


ODD = [
    *("no", "null", "~", "1e5", "0x1f", "2001-01-01", " a ", "a: b", "#a", "- a", "'", '"', "<<", "="),
    *("\n", "a\nb\n", "a\x85b", "a\u2028b"),
]
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(ODD)
methods: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.just(HeadOptions()),
    st.just(FullOptions()),
    st.builds(LoraOptions, rank=st.integers(1, 1024), target_modules=st.none() | st.tuples(words)),
)


@settings(max_examples=30)  # of 40 milliseconds each
@given(
    train=words | st.lists(words, min_size=1, max_size=3),
    labels=st.dictionaries(words, words, max_size=3),
    goals=st.lists(words, max_size=2),
    rate=st.none() | st.floats(0, 1, exclude_min=True),
    method=methods,
)
def test_a_written_recipe_reads_as_itself(
    place: Path, train: Any, labels: dict[str, str], goals: list[str], rate: float | None, method: Any
) -> None:
    tree = {
        "data": {"train": train, "label_map": labels},
        "evaluation": {"goals": goals},
        "training": {} if method == HeadOptions() else {"learning_rate": rate},
        "method": None if method is None else method.model_dump(mode="json"),
    }
    recipe = build_recipe(tree, source="test")
    place.write_text(recipe_text(recipe), encoding="utf-8", newline="")
    assert read_recipe(place) == recipe
