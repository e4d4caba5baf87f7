"""Who computes next."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from burnish.serving import turns
from burnish.serving.turns import Turns


class Clock:
    """Time that passes only where somebody computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(turns, "time", made)
    return made


def test_many_short_passes_do_not_wait_for_as_many_long_ones(clock: Clock) -> None:
    line, ended, done = Turns(1), threading.Event(), Counter[str]()

    def passes(name: str, seconds: float, count: int) -> turns.Step:
        def step() -> bool:
            clock.now += seconds
            done[name] += 1
            if name == "short" and done[name] == count:
                done["long when short ended"] = done["long"]
            if done["short"] == 100 and done["long"] == 20:
                ended.set()
            return done[name] < count

        return step

    steps = [passes("long", 1.0, 20), passes("short", 0.1, 100)]
    line.call(lambda: [line.wake(step) for step in steps]).result(30)
    assert ended.wait(30)
    line.stop()
    assert done["long when short ended"] in (10, 11)  # half of the time each
    assert len(line._had) <= 2


class Long:
    """A model whose client asks anew as soon as it is answered: its line is empty in between."""

    def __init__(self, line: Turns, clock: Clock) -> None:
        self.line, self.clock, self.passes = line, clock, 0

    def step(self) -> bool:
        self.clock.now += 1.0
        self.passes += 1
        self.line.call(lambda: self.line.wake(self.step))
        return False


def test_who_comes_back_after_each_pass_owes_what_it_had(clock: Clock) -> None:
    line, times, ended = Turns(1), list[int](), threading.Event()
    long = Long(line, clock)

    def short() -> bool:
        clock.now += 0.1
        times.append(long.passes)
        if len(times) == 100:
            ended.set()
        return len(times) < 100

    line.call(lambda: [line.wake(long.step), line.wake(short)]).result(30)
    assert ended.wait(30)
    line.stop()
    assert times[-1] <= 12


def test_who_was_idle_has_no_time_in_store(clock: Clock) -> None:
    line, order = Turns(1), list[str]()
    ended = threading.Event()

    def old() -> bool:
        clock.now += 1.0
        order.append("old")
        if len(order) == 5:
            line.wake(late)
        return len(order) < 12

    def late() -> bool:
        clock.now += 1.0
        order.append("late")
        if len(order) >= 11:
            ended.set()
        return len(order) < 11

    line.wake(old)
    assert ended.wait(30)
    line.stop()
    assert order[5:11].count("old") == 3


def test_models_take_turns_and_a_fault_of_one_stops_no_other(clock: Clock) -> None:
    line, order, done = Turns(), list[str](), threading.Event()
    left = {"a": 3, "b": 3}
    together = threading.Barrier(2)

    def step(name: str) -> bool:
        order.append(name)
        left[name] -= 1
        if not any(left.values()):
            done.set()
        if name == "a" and left["a"] == 1:
            raise RuntimeError("a fault of this pass")
        return left[name] > 0

    def step_a() -> bool:
        return step("a")

    def step_b() -> bool:
        return step("b")

    waiting = line.call(together.wait)  # holds the thread until both are in line
    line.wake(step_a)
    line.wake(step_b)
    line.wake(step_a)
    together.wait()
    assert done.wait(60)
    assert order == ["a", "b"] * 3
    assert waiting.done()
    assert line.call(lambda: 7).result() == 7
    with pytest.raises(ZeroDivisionError):
        line.call(lambda: 1 // 0).result()
    line.stop()
