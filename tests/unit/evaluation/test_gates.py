"""Gates stand in evaluation.json; one that stops the model says so first."""

from typing import Any

from burnish.evaluation.gates import Gate, stopped_by, with_gate

EVALUATION: dict[str, Any] = {"verdict": {"answer": "better", "advice": "Use the tuned model."}}
OPEN = Gate("groups", True, "Every group keeps its accuracy.")
SHUT = Gate("forgetting", False, "Its loss on probes rose by 40 %.", "Train with training.replay.", {"rise": 0.4})


def test_a_gate_that_passed_changes_no_advice() -> None:
    found = with_gate(EVALUATION, OPEN)
    assert found["verdict"] == EVALUATION["verdict"]
    assert stopped_by(found) == []
    assert found["gates"] == [
        {"name": "groups", "passed": True, "reason": OPEN.reason, "advice": "", "figures": {}},
    ]


def test_a_gate_that_stops_the_model_speaks_before_the_advice_of_the_verdict() -> None:
    found = with_gate(with_gate(EVALUATION, OPEN), SHUT)
    assert found["verdict"]["advice"] == (
        "Do not promote the tuned model: Its loss on probes rose by 40 %. Train with training.replay. "
        "For its task alone: Use the tuned model."
    )
    assert [gate["name"] for gate in found["gates"]] == ["groups", "forgetting"]
    assert [gate["name"] for gate in stopped_by(found)] == ["forgetting"]
    assert "gates" not in EVALUATION


def test_of_two_gates_that_stop_it_the_task_is_spoken_of_once() -> None:
    advice = with_gate(with_gate(EVALUATION, SHUT), Gate("groups", False, "One group fell."))["verdict"]["advice"]
    assert advice.startswith("Do not promote the tuned model: One group fell. Do not promote the tuned model: Its loss")
    assert advice.endswith("For its task alone: Use the tuned model.")
