"""When training stops, by hand."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

import pytest

from burnish.engine.stopping import EarlyStopping, listening


def feed(stopping: EarlyStopping, *evaluations: tuple[float, float, float]) -> list[bool]:
    """(metric, training loss, validation loss) of one evaluation after the other, 10 steps apart."""
    return [
        stopping.see(10 * (i + 1), value, train_loss=train, validation_loss=validation)
        for i, (value, train, validation) in enumerate(evaluations)
    ]


def test_nothing_stops_before_the_first_evaluation() -> None:
    assert EarlyStopping(patience=1).reason() is None


def test_patience_counts_evaluations_without_a_better_one() -> None:
    stopping = EarlyStopping(patience=2)
    assert feed(stopping, (0.5, 1, 1), (0.6, 1, 1), (0.6, 1, 1)) == [True, True, False]
    assert stopping.reason() is None
    assert feed(stopping, (0.55, 1, 1)) == [False]
    assert stopping.reason() == "no better evaluation in 2"
    assert (stopping.best_step, stopping.best_value) == (20, 0.6)


def test_a_better_one_starts_the_count_anew() -> None:
    stopping = EarlyStopping(patience=2)
    feed(stopping, (0.5, 1, 1), (0.4, 1, 1), (0.6, 1, 1), (0.4, 1, 1))
    assert stopping.reason() is None
    assert stopping.waited == 1


def test_where_lower_is_better() -> None:
    stopping = EarlyStopping(patience=1, higher_is_better=False)
    assert feed(stopping, (0.5, 1, 1), (0.4, 1, 1), (0.45, 1, 1)) == [True, True, False]
    assert stopping.best_value == 0.4
    assert stopping.reason() is not None


def test_equal_metrics_are_told_apart_by_validation_loss() -> None:
    stopping = EarlyStopping(patience=3)
    assert feed(stopping, (0.5, 1, 0.9), (0.5, 1, 0.8), (0.5, 1, 0.8), (0.5, 1, 0.85)) == [True, True, False, False]
    assert stopping.best_step == 20


def test_a_worse_metric_with_a_smaller_loss_is_not_better() -> None:
    assert feed(EarlyStopping(patience=3), (0.5, 1, 0.9), (0.4, 1, 0.1)) == [True, False]


def test_a_rising_validation_loss_while_training_loss_falls() -> None:
    """Overfitting: counted in a row, and only a reason when the metric does not improve either."""
    stopping = EarlyStopping(patience=3)
    feed(stopping, (0.70, 0.9, 0.80), (0.71, 0.8, 0.85), (0.72, 0.7, 0.90), (0.73, 0.6, 0.95))
    assert stopping.rising == 3
    assert stopping.reason() is None  # the metric still improves
    feed(stopping, (0.72, 0.5, 0.99))
    assert stopping.reason() == "validation loss rose 4 times in a row while training loss fell"


@pytest.mark.parametrize("fourth", [(0.72, 0.6, 0.90), (0.72, 0.75, 0.99)])
def test_the_count_of_rises_ends_when_it_is_no_overfitting(fourth: tuple[float, float, float]) -> None:
    """Validation loss no higher than before, or training loss no lower."""
    stopping = EarlyStopping(patience=3)
    feed(stopping, (0.70, 0.9, 0.80), (0.71, 0.8, 0.85), (0.72, 0.7, 0.90), fourth)
    assert stopping.rising == 0


def test_the_state_survives_json() -> None:
    stopping = EarlyStopping(patience=3, higher_is_better=False)
    feed(stopping, (0.1 + 0.2, 1 / 3, 0.9), (0.5, 0.3, 0.95))
    restored = EarlyStopping.restored(json.loads(json.dumps(stopping.state())))
    assert restored == stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_the_second_stops_at_once(number: signal.Signals) -> None:
    def twice() -> None:
        with listening() as stop:
            assert stop.number is None
            os.kill(os.getpid(), number)
            assert stop.number == number
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        twice()


def test_the_second_signal_does_what_the_caller_wants() -> None:
    """The command line tells SIGTERM from SIGINT by its exit code, whichever came first."""

    def terminate(*_: object) -> None:
        raise SystemExit(143)

    def both() -> None:
        with listening():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(SystemExit):
            both()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_callers_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_than_the_main_one_hears_nothing() -> None:
    heard: list[Any] = []

    def listen() -> None:
        with listening() as stop:
            heard.append(stop.number)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [None]
