"""Which old rows a step sees again, and what their loss counts."""

from __future__ import annotations

import pytest

from burnish.engine.options import TrainingOptions
from burnish.engine.replay import Replay, replay_of_step, replayed_rows


def test_each_pass_over_the_kept_rows_sees_each_of_them_once() -> None:
    seen = [i for step in range(10) for i in replayed_rows(step, count=3, rows=15, seed=4)]
    assert sorted(seen[:15]) == sorted(seen[15:]) == list(range(15))
    assert seen[:15] != seen[15:], "in another order"
    assert seen == [i for step in range(10) for i in replayed_rows(step, count=3, rows=15, seed=4)]
    assert seen != [i for step in range(10) for i in replayed_rows(step, count=3, rows=15, seed=5)]
    assert len(replayed_rows(0, count=7, rows=2, seed=0)) == 7, "fewer rows than a step wants come again"


def test_a_step_is_the_asked_share_of_old_rows() -> None:
    """Three parts of old rows to one of new ones; 6 units of new rows against 2 of each old one."""
    options = TrainingOptions(global_batch_size=4, keep_ability={"rows": "old", "replay": 0.75})
    found = replay_of_step(
        0,
        [3, 1, 2, 0],
        rows=5,
        kept_rows=30,
        units_of=lambda rows: sum(2.0 if i >= 5 else 1.5 for i in rows),
        options=options,
    )
    assert found.rows == [5 + i for i in replayed_rows(0, count=12, rows=30, seed=options.seed)]
    assert found.units == 24.0
    assert found.factor == pytest.approx(3 * 6 / 24)


def test_without_replay_a_step_is_new_rows_alone() -> None:
    assert replay_of_step(0, [1], rows=5, kept_rows=0, units_of=len, options=TrainingOptions()) == Replay()
