"""What an endpoint's answer means where a label is wanted."""

from __future__ import annotations

import pytest

from burnish.lifecycle.endpoint_arm import label_in

LABELS = ("card", "card lost", "refund")


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("refund", "refund"),
        (" Refund\n", "refund"),
        ("The label is: card lost.", "card lost"),
        ("card", "card"),
        ("no idea", "no idea"),
        ("", ""),
    ],
)
def test_the_label_is_found_in_what_was_said(said: str, label: str) -> None:
    assert label_in(said, LABELS) == label
