"""Short versions of the torture scripts, which say with numbers what a user may rely on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals and calls of POSIX")]
if os.name != "nt":
    import damage
    import disk_full
    import kill
    import server_kills
    import sigterm
    import write_order
    from toy_runs import Outcome, Toys, toys


@pytest.fixture(scope="module")
def lab() -> Iterator[Toys]:
    with toys() as made:
        yield made


def assert_flawless(outcome: Outcome) -> None:
    assert outcome.flawless(), outcome.table()


def test_killed_at_any_moment(lab: Toys) -> None:
    assert_flawless(kill.torture(lab, kills=8, seed=2))


def test_damaged_checkpoints(lab: Toys) -> None:
    assert_flawless(damage.torture(lab, damages=len(damage.KINDS), seed=2))


def test_full_disk(lab: Toys) -> None:
    assert_flawless(disk_full.torture_full(lab, stops=4, seed=2))


def test_failing_disk(lab: Toys) -> None:
    assert_flawless(disk_full.torture_failing(lab, stops=2, seed=2))


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_order_of_writes(lab: Toys) -> None:
    assert_flawless(write_order.torture(lab, "full"))


@pytest.mark.parametrize("second", [False, True])
def test_terminated_at_any_moment(lab: Toys, second: bool) -> None:
    assert_flawless(sigterm.torture(lab, signals=2, seed=2, second=second))


def test_server_killed_in_the_middle_of_jobs(language_base: Path, tmp_path: Path) -> None:
    """Alone while a request is answered, and with all it started while a job is trained."""
    pytest.importorskip("fastapi")
    assert server_kills.server_kills(tmp_path, language_base, ["create", "step 7"])["wrong"] == []
