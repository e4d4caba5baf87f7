"""Fine-tuning with the OpenAI package, as the public guides do it: prepare, upload, tune, watch, download, ask."""

import csv
import json
import sys
import time
from collections import Counter
from pathlib import Path

from openai import OpenAI

MODEL = sys.argv[1] if len(sys.argv) > 1 else "gpt-4o-mini"
SYSTEM = "Write the date as year-month-day."
HERE = Path(__file__).parent

client = OpenAI()  # OPENAI_BASE_URL says where, OPENAI_API_KEY who asks


# 1. Prepare the rows: one conversation a line.
def conversation(message: str, date: str | None = None) -> list[dict[str, str]]:
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": message}]
    return turns if date is None else [*turns, {"role": "assistant", "content": date}]


with (HERE / "dates.csv").open(encoding="utf-8", newline="") as file:
    rows = [{"messages": conversation(row["message"], row["date"])} for row in csv.DictReader(file)]
parts = {"dates_train.jsonl": rows[:48], "dates_validation.jsonl": rows[48:]}
for name, part in parts.items():
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")

# 2. Count them, and look for what is wrong with them before anything is sent.
for name, part in parts.items():
    turns = Counter(turn["role"] for row in part for turn in row["messages"])
    letters = sum(len(turn["content"]) for row in part for turn in row["messages"])
    unanswered = [number for number, row in enumerate(part, start=1) if row["messages"][-1]["role"] != "assistant"]
    print(f"{name}: {len(part)} conversations, {dict(turns)}, about {letters // 4} tokens, unanswered: {unanswered}")

# 3. Upload.
train, validation = (client.files.create(file=Path(name), purpose="fine-tune") for name in parts)
print(f"uploaded {train.id} and {validation.id}")

# 4. Start a job.
job = client.fine_tuning.jobs.create(
    model=MODEL,
    training_file=train.id,
    validation_file=validation.id,
    method={
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 1.5}},
    },
    suffix="dates",
    seed=1,
)
print(f"job {job.id} is {job.status}")

# 5. Wait for it.
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(1)
    job = client.fine_tuning.jobs.retrieve(job.id)
if job.status != "succeeded":
    raise SystemExit(f"the job {job.status}: {job.error and job.error.message}")
print(f"job {job.id} has succeeded: {job.trained_tokens} tokens, {job.hyperparameters}")

# 6. What happened, step by step, and the states that were kept.
for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=100).data):
    print(f"  {time.strftime('%H:%M:%S', time.localtime(event.created_at))} {event.message}")
for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id):
    print(f"  checkpoint {checkpoint.fine_tuned_model_checkpoint}: {checkpoint.metrics.valid_loss}")

# 7. The figures of all steps.
table = client.files.content(job.result_files[0]).text
Path("step_metrics.csv").write_text(table, encoding="utf-8")
losses = [row["train_loss"] for row in csv.DictReader(table.splitlines()) if row["train_loss"]]
print(f"training loss from {float(losses[0]):.3f} to {float(losses[-1]):.3f} in {len(losses)} steps: step_metrics.csv")

# 8. Use it.
assert job.fine_tuned_model is not None
answer = client.chat.completions.create(
    model=job.fine_tuned_model,
    messages=conversation("Can you come on 5 August 2026?"),  # type: ignore[arg-type]
    temperature=0,
    max_completion_tokens=16,
)
print(f"{answer.model} says: {answer.choices[0].message.content}")
