"""The report: what it says, that it shows users' text only escaped, and that it asks nothing of anyone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from burnish.evaluation.report import render_report, sections_of
from burnish.evaluation.report_style import DARK, LIGHT
from burnish.evaluation.run_record import RunRecord

HOSTILE = "<script>alert(1)</script>\x00\u202e&quot;\ttail"
VOID = {"meta", "circle", "rect", "line", "path", "wbr"}
FILES = ("manifest.json", "evaluation.json", "metrics.jsonl", "problems.jsonl", "predictions.jsonl", "recipe.yaml")

BuildRun = Callable[..., Path]


class Page(HTMLParser):
    """Tags, ids, links and text of a page; fails on tags that do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\u00a0", " ") if self.open[-1:] != ["style"] else ""

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_the_verdict_comes_first_with_its_numbers(build_run: BuildRun) -> None:
    text = Page(render_report(build_run())).text
    opening = text[: text.index("Goals")]
    assert "Yes, the tuned model is better." in opening
    assert "On 160 test rows" in opening
    assert "90.0 % accuracy" in opening
    assert "a linear classifier on the frozen base" in opening
    assert "+5.0 points (95 % interval +1.2 to +8.8 points, p = 0.012)" in opening
    assert "What to do. Use the tuned model." in opening
    assert "a difference of 1 point or more" in opening


@pytest.mark.parametrize(
    ("answer", "headline"),
    [
        ("same", "No real difference: fine-tuning did not pay."),
        ("worse", "No, the tuned model is worse."),
        ("too little data", "Too little data to tell."),
    ],
)
def test_every_answer_has_its_headline(build_run: BuildRun, answer: str, headline: str) -> None:
    run = build_run()
    change(run / "evaluation.json", lambda e: e["verdict"].update(answer=answer))
    assert f"<h1>{headline}</h1>" in render_report(run)


def test_arms_goals_and_errors_are_there(build_run: BuildRun) -> None:
    text = Page(render_report(build_run())).text
    for arm in ("majority", "tf-idf", "base-centroid", "base-probe", "tuned"):
        assert arm in text
    assert "✓ reached" in text
    assert "✗ missed, but not for certain" in text
    assert "16 of 160 test rows are wrong." in text
    assert "label billing · predicted cancel (97.6 % sure) · right: tf-idf · test.csv:41" in text
    assert "chosen: step 140" in text
    assert "Converged" in text
    assert "train.csv:12, train.csv:13, train.csv:14, …" in text
    assert "data/leakage" in text
    assert "ab" * 32 in text
    assert "ef" * 32 in text


def test_further_metrics_stand_beside_the_arms(build_run: BuildRun) -> None:
    run = build_run()
    assert "Further metrics" not in Page(render_report(run)).text
    compared = {"metric": "macro-f1", "difference": 0.031, "low": 0.01, "high": 0.052, "n": 120, "p_value": 0.004}
    change(
        run / "evaluation.json",
        lambda content: content.update(comparisons=[compared | {"p_holm": 0.008, "test": "permutation"}]),
    )
    text = Page(render_report(run)).text
    assert "Further metrics: how much better the tuned model is than base-probe" in text
    for shown in ("+3.1 points", "+1.0 to +5.2 points", "p = 0.004 (permutation test)", "p = 0.008"):
        assert shown.replace(" ", "") in text.replace("\u00a0", " ").replace(" ", "")


def test_the_surest_error_is_first(build_run: BuildRun) -> None:
    sure = [float(x) for x in re.findall(r"\(([0-9.]+).% sure\)", render_report(build_run()))]
    assert sure == sorted(sure, reverse=True)
    assert len(sure) == 16


def test_the_page_is_accessible_in_its_structure(build_run: BuildRun) -> None:
    page = Page(render_report(build_run()))
    assert page.named("html")[0]["lang"] == "en"
    assert len(page.named("h1")) == len(page.named("main")) == len(page.named("header")) == len(page.named("nav")) == 1
    assert all(head["scope"] in ("col", "row") for head in page.named("th"))
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in page.named("svg"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(sections_of(RunRecord.read(build_run()))) < set(ids)
    assert {str(a["href"])[1:] for a in page.named("a")} <= set(ids)


def test_nothing_is_asked_of_the_network_and_nothing_runs(build_run: BuildRun) -> None:
    source = render_report(build_run())
    page = Page(source)
    assert page.named("meta")[1]["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not re.search(r"url\(|@import|https?:", source)
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
        assert str(attributes.get("href") or "#").startswith("#")


def test_text_of_users_is_shown_and_never_markup(build_run: BuildRun) -> None:
    run = build_run(labels=(HOSTILE, "b", "c"), text=HOSTILE)
    (run / "recipe.yaml").write_text(f"task: {HOSTILE!r}\nnote: <script>\n")
    change(run / "evaluation.json", lambda e: e["verdict"].update(advice=HOSTILE, against=HOSTILE))
    change(run / "evaluation.json", lambda e: e["goals"].append({"goal": HOSTILE}))
    change(run / "manifest.json", lambda m: m.update(id=HOSTILE, method=HOSTILE, created=HOSTILE))
    change(run / "manifest.json", lambda m: m["base"].update(name=HOSTILE, license=HOSTILE))
    change(run / "manifest.json", lambda m: m["data"].update(notes=[HOSTILE], files={HOSTILE: {"sha256": HOSTILE}}))
    change(run / "manifest.json", lambda m: m["environment"].update({HOSTILE: HOSTILE}))
    source = render_report(run)
    page = Page(source)
    assert not page.named("script")
    assert "\x00" not in source
    assert "\u202e" not in source
    assert "<script>alert(1)</script>\\x00\\u202e&quot;⇥tail" in page.text


def test_a_long_text_is_cut(build_run: BuildRun) -> None:
    source = render_report(build_run(text="word " * 5000))
    assert "…</q>" in source
    assert len(source) < 200_000


def test_many_classes_are_told_by_the_weakest_and_the_most_frequent_confusions(build_run: BuildRun) -> None:
    source = render_report(build_run(labels=[f"class_{i}" for i in range(77)]))
    text = Page(source).text
    assert "The 15 weakest of 77 classes" in text
    assert "The 15 most frequent of 77 confusions" in text
    assert 'class="heat"' not in source


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_said_in_its_place(build_run: BuildRun, name: str) -> None:
    run = build_run()
    (run / name).unlink()
    Page(render_report(run))


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    text = Page(render_report(tmp_path)).text
    assert "No verdict yet." in text
    assert "No training steps are recorded" in text


@pytest.mark.parametrize("name", ["manifest.json", "evaluation.json"])
@pytest.mark.parametrize("remove", [True, False], ids=["gone", "null"])
def test_no_single_key_is_needed(build_run: BuildRun, name: str, remove: bool) -> None:
    run = build_run(labels=("a", "b"))
    (run / "predictions.jsonl").unlink()
    original = json.loads((run / name).read_text())
    places = [[key] for key in original]
    places += [[key, inner] for key, value in original.items() if isinstance(value, dict) for inner in value]
    for place in places:
        content = json.loads(json.dumps(original))
        holder = content if len(place) == 1 else content[place[0]]
        holder[place[-1]] = None
        if remove:
            del holder[place[-1]]
        (run / name).write_text(json.dumps(content))
        render_report(run)


def test_a_solved_head_has_no_curve(build_run: BuildRun) -> None:
    run = build_run()
    (run / "metrics.jsonl").write_text('{"step": 1, "epoch": 1.0, "validation": {"accuracy": 0.9}, "best": true}\n')
    change(run / "manifest.json", lambda m: m.update(method="head"))
    assert "the head was solved exactly" in render_report(run)


def test_a_metric_of_ones_own_is_not_shown_in_percent(build_run: BuildRun) -> None:
    run = build_run()
    change(run / "evaluation.json", lambda e: e["verdict"].update(metric="cost", difference=-3.25, low=-4.5, high=-2.0))
    change(run / "evaluation.json", lambda e: e["models"]["tuned"].update(cost={"value": 12.5, "low": 11, "high": 14}))
    text = Page(render_report(run)).text
    assert "reaches 12.5 cost" in text
    assert "−3.25 (95 % interval −4.5 to −2" in text


def test_what_a_training_met_is_told(build_run: BuildRun) -> None:
    run = build_run()
    assert "steps skipped" not in render_report(run)
    met = {"skipped_steps": 4, "rolled_back": True, "memory_retries": 2, "self_test": "self-test: all the same"}
    change(run / "manifest.json", lambda m: m["training"].update(met))
    parent = {"run": "first", "checkpoint": "step-8", "changed": ["training.learning_rate=1e-5"]}
    change(run / "manifest.json", lambda m: m.update(parents=[parent]))
    told = render_report(run)
    for part in ("4: loss or gradient was not finite", "half the learning rate", "2 times for lack", "all the same"):
        assert part in told
    assert "first, step-8, with training." in told


def test_opening_the_test_rows_again_is_told(build_run: BuildRun) -> None:
    run = build_run()
    assert "were opened" not in render_report(run)
    change(run / "evaluation.json", lambda e: e.update(opened=3))
    assert "The sealed test rows were opened 3 times" in render_report(run)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_has_enough_contrast(colours: dict[str, str]) -> None:
    grounds = [rgb(colours[name]) for name in ("paper", "card", "soft")]
    deepest = [(a + b) / 2 for a, b in zip(rgb(colours["accent"]), rgb(colours["paper"]), strict=True)]
    assert contrast(rgb(colours["ink"]), deepest) >= 4.5  # numbers on the deepest shade of the confusion matrix
    for name in ("ink", "muted", "accent", "good", "bad"):
        for ground in grounds:
            assert contrast(rgb(colours[name]), ground) >= 4.5, name


def rgb(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def contrast(a: list[float], b: list[float]) -> float:
    """Source: WCAG 2.2, definitions of relative luminance and contrast ratio."""

    def luminance(colour: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_a_model_that_wrote_nothing_shows_the_rows_it_expects_least(build_run: BuildRun) -> None:
    run = build_run()
    change(run / "manifest.json", lambda m: m.update(task="chat"))
    rows = [
        {"file": "/d/a.jsonl", "line": line, "text": f"row {line}", "loss": loss, "arms": {"base": 5.0}}
        for line, loss in ((1, 2.0), (2, 4.5))
    ]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = Page(render_report(run)).text
    assert text.index("row 2loss 4.5 · base 5 · a.jsonl:2") < text.index("row 1loss 2 · base 5 · a.jsonl:1")
    assert "None" not in text[text.index("wrote nothing") : text.index("row 1")]
