"""The model card: what it says, and that names of users stay plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.evaluation.card import code, markdown, render_card

BuildRun = Callable[..., Path]


def card(run: Path) -> str:
    return render_card(run).replace("\u00a0", " ")


def test_the_card_tells_what_how_good_and_how_sure(build_run: BuildRun) -> None:
    text = card(build_run())
    assert "tuned from the base minilm (license Apache-2.0), method lora. It gives one of 4 labels." in text
    assert "**Yes, the tuned model is better.** On 160 test rows" in text
    assert "(95 % interval +1.2 to +8.8 points, p = 0.012)" in text
    assert "| tuned | 90.0 % (86.0 to 94.0 %) | 89.0 % (85.0 to 93.0 %) |" in text
    assert "- `macro-f1 >= 0.80`: reached\n- `accuracy >= 0.95`: missed, not for certain" in text


def test_the_weakest_class_is_the_first_limit(build_run: BuildRun) -> None:
    limits = card(build_run()).split("## Limits")[1].split("## Data")[0]
    assert limits.index("refund") < limits.index("billing")
    assert "| refund | 82.5 % (74.5 to 90.5 %) | 90.0 % (82.0 to 98.0 %) | 40 |" in limits


def test_classes_with_few_rows_are_counted(build_run: BuildRun) -> None:
    run = build_run()
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["classes"]["refund"]["support"] = 7
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    assert "1 class of 4 has fewer than 30 test rows" in card(run)


def test_the_widest_gap_between_groups_is_a_limit(build_run: BuildRun) -> None:
    run = build_run()
    evaluation = json.loads((run / "evaluation.json").read_text())
    gap = {"best": "east", "worst": "<south>", "value": 0.15, "low": 0.02, "high": 0.28}
    evaluation["groups"] = {"metric": "accuracy", "columns": [{"column": "region", "gap": gap}, {"gap": None}]}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    said = "Of the groups of region, east and \\<south\\> are furthest apart in accuracy: by 15.0 points (95 % interval"
    assert f"{said} for all pairs +2.0 to +28.0 points)." in card(run)


def test_the_card_shows_how_to_use_the_model_with_and_without_burnish(build_run: BuildRun) -> None:
    run = build_run()
    text = card(run)
    assert f'burnish predict {run} --text "your text here"' in text
    assert f"burnish.load('{run}')" in text
    assert "### Without burnish\n\n```python\nimport transformers\n```" in text
    (run / "final" / "USE.md").unlink()
    assert "Without burnish" not in card(run)


def test_the_card_names_what_the_run_depends_on(build_run: BuildRun) -> None:
    text = card(build_run())
    for fingerprint in ("ab" * 32, "cd" * 32, "ef" * 32, "53aa51172d14"):
        assert fingerprint in text
    assert "burnish 0.1.0, python 3.11.9, torch 2.13.0, transformers 5.23.0" in text


def test_names_of_users_stay_plain_words(build_run: BuildRun) -> None:
    hostile = "a|b [x](y) <img src=z> `c`\n# d"
    text = card(build_run(labels=(hostile, "plain")))
    assert r"| a\|b \[x\](y) \<img src=z\> \`c\` ↵ # d |" in text


def test_code_is_fenced_by_more_ticks_than_it_holds() -> None:
    assert code("plain") == "`plain`"
    assert code("a``b") == "```a``b```"
    assert code("`a") == "`` `a ``"


def test_long_names_are_cut() -> None:
    assert len(markdown("x" * 1000)) == 100


def test_an_empty_folder_gives_a_card_that_says_so(tmp_path: Path) -> None:
    text = card(tmp_path)
    assert "None yet: the model has not been judged on test rows." in text
    assert "license not stated" in text
    assert "No figures per class" in text


@pytest.mark.parametrize("name", ["manifest.json", "evaluation.json"])
def test_no_single_key_is_needed(build_run: BuildRun, name: str) -> None:
    run = build_run(labels=("a", "b"))
    original = json.loads((run / name).read_text())
    for key in original:
        (run / name).write_text(json.dumps({**original, key: None}))
        render_card(run)
