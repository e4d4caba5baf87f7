"""Does burnish's layout cost accuracy? The same model from the same start, trained by burnish and by Trainer.

    python benchmarks/encoder_quality.py --seeds 5

Rows: 3,000 training rows of banking77, drawn anew for each seed, and its own 3,080 test rows. Both arms get the same
splits, the same base with the same mean pooling and head (at the class means), the same learning rate, schedule,
decay, clipping, precision and 32 rows per step, and stop by themselves: after 4 evaluations without a better
validation accuracy, 8 passes at most. What differs is what burnish's engine does on its own: concatenated rows,
windows of 8 batches, keyed dropout, the compacted embedding table. Trainer pads and groups by length. burnish's
averaging of weights, its rates by layer and its label smoothing are switched off: they are not part of the layout.

Prints the test accuracies and the 95 % interval of their paired difference (Student's t over the seeds) and writes
benchmarks/results/encoder-quality.json. Needs banking77 in ../shared/data and the extras demo, dev.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from measuring import BANKING77, RESULTS, rows_of, write_rows

TEST = "test.csv"
BATCH = 32  # rows per optimizer step
RATE, EPOCHS, PATIENCE, WARM_UP = 2e-4, 8, 4, 0.06
T_95 = {4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # two-sided, by degrees of freedom


def burnish_arm(train: Path, seed: int, work: Path) -> dict[str, float]:
    import burnish

    wanted = {
        "method": "full",
        "training.epochs": EPOCHS,
        "training.patience": PATIENCE,
        "training.learning_rate": RATE,
        "training.layer_decay": 1,
        "training.average_decay": 0,
        "training.label_smoothing": 0,
        "training.warmup_ratio": WARM_UP,
        "evaluation.metric": "accuracy",
        "checkpoint.every_steps": "null",
    }
    settings = [f"{name}={value}" for name, value in wanted.items()]
    run = burnish.train(train, test=train.with_name(TEST), output=work / "run", overrides=settings, seed=seed)
    trained = run.folder.manifest()["training"]
    accuracy = run.evaluation["models"]["tuned"]["accuracy"]["value"]
    return {"accuracy": accuracy, "epochs": trained["epochs"], "seconds": trained["training_seconds"]}


def trainer_arm(train: Path, seed: int, work: Path) -> dict[str, float]:
    import numpy as np
    import torch
    from transformers import DataCollatorWithPadding, EarlyStoppingCallback, Trainer, TrainingArguments

    from burnish.data.options import DataOptions
    from burnish.data.prepare import prepare
    from burnish.engine.precision import choose_device, choose_precision
    from burnish.lifecycle.environment import default_threads
    from burnish.model.find import find_base
    from burnish.model.load import load_encoder
    from burnish.model.options import ModelOptions
    from burnish.types import Split

    torch.set_num_threads(default_threads())
    options = DataOptions(train=str(train), test=str(train.with_name(TEST)))
    data = prepare(options, {"text": str, "label": str}, base_folder=Path(), seed=seed)
    base = find_base(ModelOptions(), recipe_folder=Path(), runs=Path("absent"))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    place = {label: index for index, label in enumerate(data.labels)}

    def encoded(split: Split) -> list[dict[str, Any]]:
        rows = [example.row for example in data.splits[split]]
        cut_at = {"truncation": True, "max_length": base.max_length}
        return [{**tokenizer(row["text"], **cut_at), "labels": place[row["label"]]} for row in rows]

    splits = {split: encoded(split) for split in Split}
    torch.manual_seed(seed)
    model = _plain_classifier(load_encoder(base), base, len(data.labels))
    collate = DataCollatorWithPadding(tokenizer)
    _start_at_class_means(model, splits[Split.TRAIN], collate)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(work / "trainer"),
            seed=seed,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            train_sampling_strategy="group_by_length",
            num_train_epochs=EPOCHS,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=round(WARM_UP * EPOCHS * math.ceil(len(splits[Split.TRAIN]) / BATCH)),
            weight_decay=0.01,
            max_grad_norm=1.0,
            bf16=choose_precision("auto", choose_device()).name == "bf16",
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            remove_unused_columns=False,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
        ),
        train_dataset=splits[Split.TRAIN],
        eval_dataset=splits[Split.VALIDATION],
        data_collator=collate,
        compute_metrics=lambda found: {"accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))},
        callbacks=[EarlyStoppingCallback(early_stopping_patience=PATIENCE)],
    )
    trained = trainer.train()
    accuracy = trainer.predict(splits[Split.TEST]).metrics["test_accuracy"]
    return {
        "accuracy": accuracy,
        "epochs": trainer.state.epoch or 0.0,
        "seconds": trained.metrics["train_runtime"],
    }


def _plain_classifier(encoder: Any, base: Any, classes: int) -> Any:
    """burnish's model as a module with the ordinary interface, for padded batches."""
    import torch
    from torch.nn import functional as F

    from burnish.model.pooled import SCALE, LinearHead

    class PlainClassifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.head = LinearHead(base.width, classes, scale=SCALE if base.normalize else 1.0)

        def pooled(self, inputs: dict[str, Any]) -> Any:
            hidden = self.encoder(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            return F.normalize(mean, dim=-1) if base.normalize else mean

        def forward(self, labels: Any = None, **inputs: Any) -> Any:
            logits = self.head(self.pooled(inputs))
            loss = None if labels is None else F.cross_entropy(logits, labels)
            return {"loss": loss, "logits": logits}

    if base.pooling != "mean":
        raise SystemExit(f"the base pools by {base.pooling}, this comparison is written for mean pooling")
    return PlainClassifier()


def _start_at_class_means(model: Any, rows: list[dict[str, Any]], collate: Any) -> None:
    import torch

    model.eval()
    pooled, targets = [], []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            batch = dict(collate(rows[start : start + 64]))
            targets.append(batch.pop("labels"))
            pooled.append(model.pooled(batch))
    model.head.start_from_centroids(torch.cat(pooled).clone(), torch.cat(targets).clone())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of 13, 14, 15...")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--only", choices=("burnish", "trainer"), help="run one arm; the other's figures are kept")
    options = parser.parse_args()
    from burnish.lifecycle.environment import describe_environment

    path = RESULTS / "encoder-quality.json"
    result = json.loads(path.read_text("utf-8")) if path.exists() else {}
    arms = {"burnish": burnish_arm, "trainer": trainer_arm}
    for name, arm in arms.items():
        if options.only in (None, name):
            result[name] = {}
            for seed in range(13, 13 + options.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    result[name][str(seed)] = arm(files(Path(folder), options.rows, seed), seed, Path(folder))
                print(name, seed, result[name][str(seed)], flush=True)
                path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    result |= {"rows": options.rows, "environment": describe_environment()}
    if {"burnish", "trainer"} <= result.keys():
        result["difference"] = difference(result["burnish"], result["trainer"])
        print("burnish - Trainer, points of accuracy:", result["difference"])
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def files(folder: Path, count: int, seed: int) -> Path:
    """Random training rows of banking77 as a file, and its test rows beside it."""
    found = rows_of(BANKING77 / "train.csv", label="category")
    write_rows(folder / TEST, rows_of(BANKING77 / TEST, label="category"))
    path = folder / "train.csv"
    write_rows(path, random.Random(seed).sample(found, count))
    return path


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Mean paired difference over the seeds in points, with its 95 % interval."""
    points = [100 * (ours[seed]["accuracy"] - theirs[seed]["accuracy"]) for seed in ours]
    mean = statistics.mean(points)
    half = T_95[len(points) - 1] * statistics.stdev(points) / math.sqrt(len(points))
    return {"mean": round(mean, 3), "low": round(mean - half, 3), "high": round(mean + half, 3), "n": len(points)}


if __name__ == "__main__":
    main()
