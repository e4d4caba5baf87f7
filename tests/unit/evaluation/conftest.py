"""A small finished run in a folder, as `burnish train` leaves it, for the pages that tell of one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

LABELS = ("billing", "cancel", "delivery", "refund")
TRAIN_FILE, TEST_FILE = "/data/tickets/train.csv", "/data/tickets/test.csv"
RIGHT_ROWS = 36  # of each class of 40 test rows
ARM_VALUES = {"tuned": 0.9, "majority": 0.25, "tf-idf": 0.82, "base-centroid": 0.8, "base-probe": 0.85}


@pytest.fixture
def build_run(tmp_path: Path) -> Callable[..., Path]:
    """`write_run` into a folder of the test."""

    def build(labels: Sequence[str] = LABELS, *, text: str = "where is my parcel") -> Path:
        return write_run(tmp_path / "tickets-4f1c", labels, text=text)

    return build


def write_run(folder: Path, labels: Sequence[str] = LABELS, *, text: str = "where is my parcel") -> Path:
    """A run over `labels` with 40 test rows per class; four rows of each class are taken for the next class."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "manifest.json", manifest(folder.name, labels))
    write_json(folder / "evaluation.json", evaluation(labels))
    write_lines(folder / "metrics.jsonl", curve())
    write_lines(folder / "problems.jsonl", problems())
    write_lines(folder / "predictions.jsonl", predictions(labels, text))
    (folder / "recipe.yaml").write_text("task: text-classification\nmodel:\n  base: minilm\ntraining:\n  seed: 13\n")
    (folder / "final").mkdir(exist_ok=True)
    (folder / "final" / "USE.md").write_text("# Without burnish\n\n```python\nimport transformers\n```\n")
    return folder


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def figure(value: float, n: int = 160, half: float = 0.04) -> dict[str, Any]:
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def manifest(run_id: str, labels: Sequence[str]) -> dict[str, Any]:
    def counts(each: int) -> dict[str, int]:
        return {label: each + 3 * index for index, label in enumerate(labels)}

    parts = {"train": counts(120), "validation": counts(20), "test": dict.fromkeys(labels, 40)}
    return {
        "id": run_id,
        "status": "finished",
        "task": "text-classification",
        "created": "2026-03-02T09:41:07+00:00",
        "method": "lora",
        "base": {
            "name": "minilm",
            "model_type": "bert",
            "parameters": 22713728,
            "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "license": "Apache-2.0",
        },
        "data": {
            "files": {
                TRAIN_FILE: {"sha256": "ab" * 32, "bytes": 183204, "rows": 612},
                TEST_FILE: {"sha256": "cd" * 32, "bytes": 50118, "rows": 160},
            },
            "columns": {"text": "body", "label": "intent"},
            "splits": {part: sum(values.values()) for part, values in parts.items()},
            "labels": parts,
            "problems": {"data/leakage": 5, "data/empty-text": 1},
            "notes": ["train.csv: CSV, comma, header in line 1", "parts (seed 13): 498, 98, 160"],
            "warnings": ["the class billing is the smallest with 120 rows"],
            "split_fingerprint": "ef" * 32,
        },
        "environment": {
            "burnish": "0.1.0",
            "python": "3.11.9",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "cpu": "Some CPU @ 2.0 GHz",
            "memory_bytes": 16_000_000_000,
            "threads": 2,
            "device": "cpu",
            "precision": "float32: the processor has no bfloat16 unit",
            "layout": "padded: attention without a mask is not exact here",
        },
        "training": {
            "steps": 160,
            "epochs": 8,
            "seconds": 214.0,
            "training_seconds": 187.4,
            "trainable_parameters": 297_988,
            "total_parameters": 23_011_716,
            "peak_memory_bytes": 1_240_000_000,
            "best_step": 140,
            "best_value": 0.91,
            "stopped": "all epochs done",
        },
        "seconds": 241.3,
    }


def evaluation(labels: Sequence[str]) -> dict[str, Any]:
    size = len(labels)
    matrix = [[0] * size for _ in labels]
    for index in range(size):
        matrix[index][index] = RIGHT_ROWS
        matrix[index][(index + 1) % size] += 40 - RIGHT_ROWS
    classes = {
        label: {
            "precision": figure(0.9 - 0.2 * index / size, 40, 0.08),
            "recall": figure(0.9, 40, 0.08),
            "f1": figure(0.9 - 0.1 * index / size, 40, 0.08),
            "support": 40,
        }
        for index, label in enumerate(labels)
    }
    return {
        "task": "text-classification",
        "split": "test",
        "n": 40 * size,
        "metric": "accuracy",
        "labels": list(labels),
        "models": {
            arm: {"accuracy": figure(value, 40 * size), "macro-f1": figure(value - 0.01, 40 * size)}
            for arm, value in ARM_VALUES.items()
        },
        "validation": {arm: {"accuracy": value} for arm, value in ARM_VALUES.items()},
        "arms": {"tf-idf": {"settings": {"strength": 1.0}, "seconds": 1.2}},
        "classes": classes,
        "confusion": {"labels": list(labels), "matrix": matrix},
        "goals": [
            {"goal": "macro-f1 >= 0.80", **figure(0.89), "reached": True, "certain": True},
            {"goal": "accuracy >= 0.95", **figure(0.9, half=0.06), "reached": False, "certain": False},
        ],
        "verdict": {
            "answer": "better",
            "metric": "accuracy",
            "against": "base-probe",
            "difference": 0.05,
            "low": 0.012,
            "high": 0.088,
            "p_value": 0.0118,
            "n": 40 * size,
            "minimum_effect": 0.01,
            "advice": "Use the tuned model. The weakest class is refund: more rows of it help most.",
        },
        "opened": 1,
    }


def curve() -> list[dict[str, Any]]:
    """Sixteen logged steps and eight evaluations of a training that converges."""
    rows: list[dict[str, Any]] = []
    for step in range(10, 161, 10):
        loss = 0.2 + 1.2 * math.exp(-step / 30)
        speed = {"learning_rate": 2e-4, "gradient_norm": 1.0, "rows_per_second": 31.0, "tokens_per_second": 600.0}
        rows.append({"step": step, "epoch": step / 20, "loss": loss, **speed})
        if step % 20 == 0:
            decay, late = math.exp(-step / 25), max(0, step - 140) * 1e-4
            values = {
                "loss": 0.35 + decay + late,
                "accuracy": 0.91 - decay / 2 - late,
                "macro-f1": 0.9 - decay / 2 - late,
            }
            rows.append({"step": step, "epoch": step / 20, "validation": values, "best": step <= 140})
    return rows


def problems() -> list[dict[str, Any]]:
    leaked = [
        {
            "code": "data/leakage",
            "reason": f"the same text is in {TEST_FILE}:{line + 100}",
            "file": TRAIN_FILE,
            "line": line,
            "action": "dropped",
            "column": None,
            "excerpt": None,
        }
        for line in range(12, 17)
    ]
    empty = {"code": "data/empty-text", "reason": "no text", "file": TRAIN_FILE, "line": 77, "action": "dropped"}
    return [*leaked, empty]


def predictions(labels: Sequence[str], text: str) -> list[dict[str, Any]]:
    rows = []
    for index, label in enumerate(labels):
        for number in range(40):
            right = number < RIGHT_ROWS
            guess = label if right else labels[(index + 1) % len(labels)]
            rows.append(
                {
                    "file": TEST_FILE,
                    "line": 2 + 40 * index + number,
                    "text": f"{text}, case {index}-{number}",
                    "label": label,
                    "prediction": guess,
                    "probability": round(0.5 + 0.0122 * number, 4),
                    "margin": 0.3,
                    "arms": {"tf-idf": label, "base-probe": guess},
                }
            )
    return rows
