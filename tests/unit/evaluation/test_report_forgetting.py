"""The report weighs what was won against what was forgotten, and shows which weights were chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from burnish.evaluation.report import render_report

HOSTILE = "<script>alert(1)</script>"


def kind(rise: float, *, lost: bool = False, known: bool = True) -> dict[str, Any]:
    figures = {"n": 10, "base_loss": 2.0, "tuned_loss": 2.0 * (1 + rise), "p_value": 0.001}
    figures["tolerated"] = 0.15
    return {**figures, "rise": rise, "low": rise - 0.05, "high": rise + 0.05, "lost": lost, "known": known}


FORGETTING: dict[str, Any] = {
    "n": 40,
    "tolerance": 0.1,
    "kinds": {
        "all probes": kind(0.04),
        HOSTILE: kind(0.3, lost=True),
        "sums": kind(0.2),
        "prose": kind(-0.02),
        "code": kind(0.5, known=False),
    },
    "choices": {"base_accuracy": 0.75, "tuned_accuracy": 0.5, "difference": {"n": 8}, "p_value": 0.5},
    "lost_most": [{"text": HOSTILE, "kind": "story", "base_loss": 1.5, "tuned_loss": 3.25}],
}
GATE = {"name": "forgetting", "passed": False, "reason": "It forgot.", "advice": "Replay.", "figures": {}}
WAYS = [
    {"name": "best", "steps": [140], "share": 1.0, "value": 0.25, "loss": 0.25, "rise": 0.3},
    {"name": "interpolation 0.5", "steps": [140], "share": 0.5, "value": 0.5, "loss": 0.5, "rise": 0.05},
]


def page(run: Path, **evaluation: Any) -> str:
    found = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps({**found, **evaluation}))
    return render_report(run).replace("\u00a0", " ")


def test_every_ability_has_its_outcome(build_run: Callable[..., Path]) -> None:
    shown = page(build_run(), forgetting=FORGETTING, gates=[GATE])
    section = shown.split('id="forgetting"')[1].split("</section>")[0]
    for words in (
        *("+30.0 %", "+25.0 to +35.0", "✗ lost", "too few probes to tell", "kept", "the base does not know it"),
        *("Of 8 multiple choices the base gets 75.0 % right, the tuned model 50.0 %", "The probes that lost most"),
        *("1.5", "3.25", "Gain on the task", "Loss of abilities", "as before"),
    ):
        assert words in section, words
    assert HOSTILE not in shown
    gates = shown.split('id="gates"')[1].split("</section>")[0]
    assert "✗ not passed" in gates
    assert "It forgot. Replay." in gates


def test_the_ways_a_training_could_have_ended(build_run: Callable[..., Path]) -> None:
    run = build_run()
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["training"]["checkpoint_choice"] = {"chosen": "interpolation 0.5", "compared": WAYS}
    (run / "manifest.json").write_text(json.dumps(manifest))
    section = page(run).split('id="checkpoints"')[1].split("</section>")[0]
    for words in ("Chosen: interpolation 0.5.", "0.2500", "0.5000", "50 %", "+30.0 %", "+5.0 %"):
        assert words in section, words
    assert section.index('class="strong"') > section.index("0.2500"), "the chosen row stands out"


def test_a_run_that_was_asked_nothing_has_no_such_parts(build_run: Callable[..., Path]) -> None:
    shown = page(build_run())
    assert not any(f'id="{anchor}"' in shown for anchor in ("gates", "forgetting", "checkpoints"))
