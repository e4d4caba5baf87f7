"""The report of a run: one self-contained page that asks nothing of the network and runs no script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from burnish.evaluation import wording
from burnish.evaluation.report_background import (
    curves_section,
    data_section,
    recipe_section,
    training_section,
    use_section,
)
from burnish.evaluation.report_embedding import worst_section
from burnish.evaluation.report_forgetting import checkpoints_section, forgetting_section, gates_section
from burnish.evaluation.report_html import Html
from burnish.evaluation.report_pairs import choices_section
from burnish.evaluation.report_sections import (
    answers_section,
    arms_section,
    classes_section,
    confusion_section,
    errors_section,
    goals_section,
    story_section,
    verdict_section,
)
from burnish.evaluation.report_style import STYLE
from burnish.evaluation.report_table import importance_section, misses_section
from burnish.evaluation.report_trust import (
    calibration_section,
    confidence_section,
    flagged_section,
    groups_section,
    memory_section,
    spellings_section,
)
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import entries, escaped
from burnish.task.build import WRITING
from burnish.task.embedding import Embedding
from burnish.task.recommendation import Recommendation

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
Section = Callable[[RunRecord], Html]
NUMBERS = ("r2", "mae", "rmse", "spearman")  # metrics of predicted numbers, which are missed and not wrong
_OF_CHAT: dict[str, tuple[str, Section]] = {
    "story": ("Story", story_section),
    "answers": ("Answers", answers_section),
    "choices": ("Choices", choices_section),
}
_OF_LABELS: dict[str, tuple[str, Section]] = {
    "classes": ("Classes", classes_section),
    "confusion": ("Confusion", confusion_section),
    "errors": ("Errors", errors_section),
}
_OF_TRUST: dict[str, tuple[str, Section]] = {
    "groups": ("Groups", groups_section),
    "calibration": ("Calibration", calibration_section),
    "confidence": ("Confidence", confidence_section),
    "robustness": ("Spellings", spellings_section),
    "memorisation": ("By heart", memory_section),
    "flagged": ("Flagged", flagged_section),
}
_OF_TABLES: dict[str, tuple[str, Section]] = {
    "importance": ("Columns", importance_section),
    "misses": ("Misses", misses_section),
}
_OF_VECTORS: dict[str, tuple[str, Section]] = {"worst": ("Worst searches", worst_section)}
SECTIONS: dict[str, tuple[str, Section]] = {
    "goals": ("Goals", goals_section),
    "gates": ("Gates", gates_section),
    "arms": ("Comparison", arms_section),
    "forgetting": ("What it forgot", forgetting_section),
    "curves": ("Training", curves_section),
    "checkpoints": ("Weights", checkpoints_section),
    **_OF_CHAT,
    **_OF_LABELS,
    **_OF_TRUST,
    **_OF_TABLES,
    **_OF_VECTORS,
    "data": ("Data", data_section),
    "recipe": ("Recipe", recipe_section),
    "training": ("Machine", training_section),
    "use": ("Use it", use_section),
}


def render_report(run: Path) -> str:
    """The HTML page of a run, from nothing but the files of its folder; what is missing is said in its place.

    Raises:
        DamagedStoreError: [storage/damaged] naming the file that is not JSON.
    """
    record = RunRecord.read(run)
    title = f"{wording.headline(record.verdict)} burnish report on {record.id}"
    sections = sections_of(record)
    links = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, (name, _) in sections.items())
    body = "".join(build(record) for _, build in sections.values())
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f'<body>\n<a class="skip" href="#verdict">Skip to the verdict</a>\n{_header(record)}\n<main>\n'
        f'{verdict_section(record)}\n<nav aria-label="Parts of this report"><ul>{links}</ul></nav>\n{body}\n</main>\n'
        f"{_footer(record)}\n</body>\n</html>\n"
    )


def sections_of(record: RunRecord) -> dict[str, tuple[str, Section]]:
    """Anchor -> (name, what builds it), in the order of the page; a judged run shows what its judgement holds."""
    task = str(record.manifest.get("task"))
    kinds = (_OF_CHAT, task in WRITING), (_OF_VECTORS, task in (Embedding.name, Recommendation.name))
    others = {part for parts, own in kinds if not own for part in parts}
    found = (*_OF_TRUST, "importance", "gates", "forgetting")
    others |= {part for part in found if part not in record.evaluation}
    if not entries(record.training.get("checkpoint_choice")).get("compared"):
        others.add("checkpoints")
    if any(own for _, own in kinds):
        others |= {*_OF_LABELS, "misses"}
    else:
        others.add("errors" if record.evaluation.get("metric") in NUMBERS else "misses")
    if record.evaluation:
        others |= {part for part in ("classes", "confusion") if part not in record.evaluation}
    return {anchor: part for anchor, part in SECTIONS.items() if anchor not in others}


def _header(record: RunRecord) -> str:
    manifest = record.manifest
    about = [
        f"run {record.id}",
        str(manifest.get("task") or record.evaluation.get("task") or ""),
        f"base {record.base['name']}" if record.base.get("name") else "",
        f"method {manifest['method']}" if manifest.get("method") else "",
        str(manifest.get("created", "")).replace("T", " ").removesuffix("+00:00"),
    ]
    items = "".join(f"<span>{escaped(item, 120)}</span>" for item in about if item)
    return f"<header><strong>burnish</strong>{items}</header>"


def _footer(record: RunRecord) -> str:
    version = escaped(record.environment.get("burnish", ""))
    return (
        f"<footer><p>Made by burnish {version} from the files of this run. Intervals are 95 % intervals. Everything "
        "here can be read by machine in evaluation.json, predictions.jsonl and manifest.json.</p></footer>"
    )
