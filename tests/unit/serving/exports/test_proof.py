"""When an export counts as equal to the trained model."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.serving.exports.proof import ROUNDING, Written, agreement, agreement_of_writing


def numbers(*rows: list[float]) -> list[np.ndarray]:
    return [np.array([row], np.float32) for row in rows]


def test_numbers_within_rounding_are_equal() -> None:
    trained = numbers([1.0, 0.0], [0.0, 0.5])
    found = agreement(trained, numbers([1.0005, 0.0], [0.0, 0.5]), unit="logit", said=(["a", "b"], ["a", "b"]))
    assert found.equal
    assert found.largest == pytest.approx(5e-4, rel=1e-3)
    assert (found.tolerance, found.answers, found.ties) == (ROUNDING, 2, ())


def test_the_tolerance_grows_with_the_numbers() -> None:
    trained, exported = numbers([200.0, 0.0]), numbers([200.1, 0.0])
    assert agreement(trained, exported, unit="logit").equal
    assert agreement(trained, exported, unit="logit").tolerance == pytest.approx(0.2)


@pytest.mark.parametrize("wrong", [[1.01, 0.0], [float("nan"), 0.0], [float("inf"), 0.0]])
def test_a_row_beyond_it_differs(wrong: list[float]) -> None:
    found = agreement(numbers([1.0, 0.0], [1.0, 0.0]), numbers([1.0, 0.0], wrong), unit="logit")
    assert not found.equal
    assert found.differing == (1,)
    assert np.isfinite(found.largest), "it is written to JSON"


def test_numbers_of_another_shape_differ() -> None:
    assert agreement(numbers([1.0, 0.0]), numbers([1.0]), unit="logit").differing == (0,)


def test_an_answer_that_differs_within_rounding_is_a_tie() -> None:
    trained, exported = numbers([0.5, 0.5001]), numbers([0.5001, 0.5])
    found = agreement(trained, exported, unit="logit", said=(["b"], ["a"]))
    assert (found.equal, found.answers, found.ties) == (True, 0, (0,))


def test_other_tokens_are_a_difference_even_where_numbers_agree() -> None:
    same = numbers([1.0, 0.0])
    assert agreement(same, same, unit="logit", other_tokens=[0]).differing == (0,)


def test_two_models_that_write_the_same_agree() -> None:
    found = agreement_of_writing([Written([1, 2], [1, 2], ([-0.1, -0.2], [-0.1, -0.21]), None)])
    assert (found.equal, found.answers, found.ties) == (True, 1, ())
    assert found.largest == pytest.approx(0.01)
    assert found.as_dict()["largest_difference"] == found.largest


def test_they_may_part_only_where_two_tokens_were_nearly_as_likely() -> None:
    close = Written([1, 2], [1, 3], ([-0.1], [-0.1]), gap=0.09)
    far = Written([1, 2], [1, 3], ([-0.1], [-0.1]), gap=0.11)
    found = agreement_of_writing([close, far], tolerance=0.05)
    assert (found.ties, found.differing, found.answers) == ((0,), (1,), 0)


def test_a_prompt_read_otherwise_differs() -> None:
    assert agreement_of_writing([Written([1], [1], ([-0.1], [-0.1]), None, other_prompt=True)]).differing == (0,)


def test_other_probabilities_differ_even_where_the_tokens_are_the_same() -> None:
    assert agreement_of_writing([Written([1], [1], ([-0.1], [-0.9]), None)]).differing == (0,)
