"""The model card: what it says, and that names of users stay plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from burnish.evaluation.card import render_card
from burnish.evaluation.markdown import code, markdown

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


def front(text: str) -> dict[str, object]:
    """The front matter as a YAML reader sees it."""

    found: dict[str, object] = YAML(typ="safe", pure=True).load(text.split("---\n")[1])
    return found


def test_hubs_read_the_front_matter(build_run: BuildRun) -> None:
    found = front(card(build_run()))
    assert found["license"] == "apache-2.0"
    assert found["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert (found["pipeline_tag"], found["library_name"]) == ("text-classification", "peft")
    assert found["metrics"] == ["accuracy", "f1"]
    assert found["tags"] == ["burnish", "text-classification", "lora"]


def test_the_path_of_a_base_and_a_license_without_a_name_stay_out_of_the_front_matter(build_run: BuildRun) -> None:
    run = build_run()
    change(run, "manifest.json", base={"name": "/home/me/secret\nlicense: mit", "license": "Ours\nbase_model: x"})
    found = front(card(run))
    assert "base_model" not in found
    assert (found["license"], found["license_name"]) == ("other", "Ours\nbase_model: x")


def change(run: Path, name: str, **entries: object) -> None:
    content = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps({**content, **entries}))


def test_a_class_that_is_mostly_missed_is_named(build_run: BuildRun) -> None:
    run = build_run()
    classes = json.loads((run / "evaluation.json").read_text())["classes"]
    classes["refund"]["recall"]["value"] = 0.4
    change(run, "evaluation.json", classes=classes)
    assert "More than half of the rows of refund are given another label" in card(run)


def test_what_was_not_measured_is_said(build_run: BuildRun) -> None:
    run = build_run()
    assert "- whether its probabilities can be believed" in card(run)
    error = {"value": 0.031, "low": 0.02, "high": 0.05}
    drop = {"value": 0.08, "low": 0.03, "high": 0.13}
    change(
        run,
        "evaluation.json",
        calibration={"models": {"tuned": {"figures": {"calibration-error": {"after": error}}}}},
        robustness={"metric": "accuracy", "n": 100, "kinds": {"typos": {"drop": drop}, "upper": {"drop": None}}},
    )
    text = card(run)
    assert "whether its probabilities can be believed" not in text
    assert "Its probabilities are off by 3.1 % (2.0 to 5.0 %) on average" in text
    assert "Typing errors cost it 8.0 points of accuracy (95 % interval +3.0 to +13.0 points, n = 100)" in text


def test_a_verdict_that_is_not_better_advises_against_it(build_run: BuildRun) -> None:
    run = build_run()
    assert "use that until it is" not in card(run)
    change(run, "evaluation.json", verdict={"answer": "same", "metric": "accuracy", "against": "tf-idf"})
    assert "It was not shown to be better than tf-idf, which needs no fine-tuning: use that until it is." in card(run)


def test_license_personal_data_and_parents(build_run: BuildRun) -> None:
    run = build_run()
    text = card(run)
    assert "Personal data: none was replaced in this run" in text
    license_ = {"title": "Apache License 2.0", "text": "https://a.example", "obligations": ["keep | notices"]}
    data = {"problems": {"data/redacted": 3}, "origins": {"human": 400, "synthetic": 98}, "version": "7" * 64}
    parents = [{"run": "first", "checkpoint": "step-4", "changed": ["training.epochs=3"]}, {"name": "tickets:2"}]
    change(run, "manifest.json", license={**license_, "use": "commercial", "checked": True}, data=data, parents=parents)
    text = card(run)
    assert "under Apache License 2.0 (https://a.example)" in text
    assert "- keep \\| notices" in text
    assert "Checked for commercial use." in text
    assert "Personal data: replaced in 3 rows before training." in text
    assert "Who wrote the training rows: human 400, synthetic 98." in text
    assert "data version `777777777777`" in text
    assert "goes on from run `first`, step-4, changed: `training.epochs=3`" in text
    assert "trained on from `tickets:2`" in text


def test_the_card_says_how_to_run_it_again(build_run: BuildRun) -> None:
    run = build_run()
    assert f"```sh\nburnish reproduce {run}\n```" in card(run)


def test_an_imported_model_is_there_to_be_trained_on_from(build_run: BuildRun) -> None:
    run = build_run()
    change(run, "manifest.json", id="theirs", status="imported", imported={"from": "owner/model`s"})
    text = card(run)
    assert "burnish train DATA --set model.base=theirs:NUMBER" in text
    assert "imported from ``owner/model`s``; how it was made is not known" in text
    assert str(run) not in text


def test_a_base_is_called_by_its_name_and_not_by_its_path(build_run: BuildRun) -> None:
    run = build_run()
    change(run, "manifest.json", base={"name": "/home/me/models/theirs"})
    assert "tuned from the base theirs (" in card(run)
    change(run, "manifest.json", parents=[{"name": "tickets:2", "version": "ab" * 32}])
    assert "tuned from the base tickets:2 (" in card(run)
    assert "/home/me" not in card(run)
