"""A text classifier with the OpenAI package: what the protocol has no words for goes into `extra_body`."""

import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

from openai import OpenAI

MODEL = sys.argv[1] if len(sys.argv) > 1 else "minilm"
HERE = Path(__file__).parent

client = OpenAI()

# 1. One text with its label a line.
with (HERE / "messages.csv").open(encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
labels = sorted({row["label"] for row in rows})
Path("messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
print(f"messages.jsonl: {len(rows)} texts, labels {labels}")

# 2. Upload and start. The task is named in the block `burnish`, with whatever else a recipe may say.
sent = client.files.create(file=Path("messages.jsonl"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model=MODEL,
    training_file=sent.id,
    suffix="desk",
    seed=1,
    extra_body={"burnish": {"task": "text-classification", "method": "head"}},
)

# 3. Wait.
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(1)
    job = client.fine_tuning.jobs.retrieve(job.id)
if job.status != "succeeded":
    raise SystemExit(f"the job {job.status}: {job.error and job.error.message}")

# 4. Is it any better than doing without it?
judged: Any = client.get(f"/burnish/jobs/{job.id}/verdict", cast_to=object)
print(f"verdict: {judged['verdict']['answer']}")

# 5. Use it.
texts = ["Thank you, that settles it.", "I will send the photos tonight.", "Where is my refund? I wrote three times."]
found: Any = client.post("/burnish/predict", body={"model": job.fine_tuned_model, "input": texts}, cast_to=object)
for text, guess in zip(texts, found["data"], strict=True):
    print(f"{guess['label']:10} {text}")
