"""What a user of the `openai` package does, unmodified: sends files, tunes, watches, pauses, asks, deletes.

python openai_user.py BASE_URL KEY LIMITED_KEY BASE ROWS.jsonl [CLASSIFIER LABELLED.jsonl]

Ends with 0 when everything was as the protocol says; any other end is an assertion with what was found.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
from openai import OpenAI

COLUMNS = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
PROMPT = "where is my card, asked in pr1v4te?"
PATIENCE_SECONDS = 400  # for a job, on a machine that does other things besides


@contextlib.contextmanager
def refused(kind: type[openai.APIStatusError], status: int, code: str | None, *words: str) -> Iterator[None]:
    """What is in the block is refused just so, at the first attempt."""
    try:
        yield
    except kind as error:
        caught = error
    else:
        raise AssertionError(f"not refused: {status} {code}")
    found = (caught.status_code, caught.code if code else None)
    assert found == (status, code), (found, caught.message)
    assert all(word in caught.message for word in words), caught.message
    assert caught.request_id, "no request id"
    if status == 409:
        assert caught.response.headers["x-should-retry"] == "false"


def until(look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    """Asks again, as scripts do, until it is so."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        found = look()
        if done(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"it never came to that: {found}")


def files(client: OpenAI, strict: OpenAI, rows: bytes) -> str:
    """Files and uploads; gives the id of the training file."""
    with refused(openai.BadRequestError, 400, "invalid_value", "purpose"):
        client.files.create(file=("rows.jsonl", rows), purpose="nonsense")  # type: ignore[arg-type]
    with refused(openai.APIStatusError, 413, "file_too_large"):
        client.files.create(file=("big.jsonl", bytes(300_000)), purpose="fine-tune")
    made = strict.files.create(
        file=("rows.jsonl", rows), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    assert (made.bytes, made.filename, made.purpose) == (len(rows), "rows.jsonl", "fine-tune")
    assert client.files.wait_for_processing(made.id).status == "processed"
    assert strict.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == rows
    whole = strict.uploads.upload_file_chunked(
        file=rows, filename="parts.jsonl", bytes=len(rows), mime_type="text/jsonl", purpose="fine-tune", part_size=999
    )
    assert whole.status == "completed"
    assert whole.file is not None
    assert client.files.content(whole.file.id).read() == rows
    listed = [file.id for file in strict.files.list(limit=1)]  # follows the pages
    assert listed[:2] == [whole.file.id, made.id], listed
    assert [file.id for file in client.files.list(order="asc", purpose="fine-tune")][-2:] == [made.id, whole.file.id]
    assert client.files.delete(whole.file.id).deleted
    with refused(openai.NotFoundError, 404, "file_not_found"):
        client.files.retrieve(whole.file.id)
    upload = strict.uploads.create(bytes=9, filename="x", mime_type="text/plain", purpose="batch")
    assert strict.uploads.cancel(upload.id).status == "cancelled"
    with refused(openai.ConflictError, 409, "not_pending"):
        client.uploads.cancel(upload.id)
    return made.id


def wrong_jobs(client: OpenAI, base: str, file: str, rows: bytes) -> None:
    """What no job is made of."""
    lines = rows.splitlines(keepends=True)
    lines[6] = b'{"messages": [{"role": "user", "content": "and then"}]}\n'
    bad = client.files.create(file=("bad.jsonl", b"".join(lines)), purpose="fine-tune")
    with refused(openai.BadRequestError, 400, "invalid_training_file", "line 7"):
        client.fine_tuning.jobs.create(model=base, training_file=bad.id)
    few = client.files.create(file=("few.jsonl", b"".join(rows.splitlines(keepends=True)[:9])), purpose="fine-tune")
    with refused(openai.BadRequestError, 400, "invalid_training_file", "10"):
        client.fine_tuning.jobs.create(model=base, training_file=few.id)
    other = client.files.create(file=("rows.jsonl", rows), purpose="batch")
    with refused(openai.BadRequestError, 400, "invalid_file_purpose"):
        client.fine_tuning.jobs.create(model=base, training_file=other.id)
    with refused(openai.BadRequestError, 400, "model_not_found"):
        client.fine_tuning.jobs.create(model="gpt-nonesuch", training_file=file)
    with refused(openai.BadRequestError, 400, None, "n_epoch", "n_epochs"):
        client.fine_tuning.jobs.create(
            model=base,
            training_file=file,
            hyperparameters={"n_epoch": 3},  # type: ignore[typeddict-unknown-key]
        )
    with refused(openai.BadRequestError, 400, "unsupported_method"):
        client.fine_tuning.jobs.create(model=base, training_file=file, method={"type": "reinforcement"})
    with refused(openai.BadRequestError, 400, "unknown_parameter", "suffix"):
        client.fine_tuning.jobs.create(model=base, training_file=file, extra_body={"sufix": "x"})
    with refused(openai.NotFoundError, 404, None):
        client.fine_tuning.jobs.retrieve("ftjob-nothing")
    for each in (bad, few, other):
        client.files.delete(each.id)


def job(client: OpenAI, strict: OpenAI, base: str, file: str) -> Any:
    """A job from its creation, through a pause, to its end."""
    asked: dict[str, Any] = {
        "model": base,
        "training_file": file,
        "suffix": "words",
        "seed": 7,
        "metadata": {"run": "nightly 1", "by": "ci"},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 1}}},
        "extra_headers": {"Idempotency-Key": f"once {file}"},
    }
    made = strict.fine_tuning.jobs.create(**asked)
    assert client.fine_tuning.jobs.create(**asked).id == made.id  # a retry after a lost answer
    assert (made.object, made.fine_tuned_model, made.error, made.seed) == ("fine_tuning.job", None, None, 7)
    assert next(iter(client.fine_tuning.jobs.list(metadata={"run": "nightly 1"}))).id == made.id
    assert not list(client.fine_tuning.jobs.list(metadata={"run": "other"}))
    with refused(openai.ConflictError, 409, "file_in_use", made.id):
        client.files.delete(file)
    with refused(openai.ConflictError, 409, "invalid_job_state"):
        client.fine_tuning.jobs.resume(made.id)
    jobs = client.fine_tuning.jobs
    until(
        lambda: jobs.list_events(made.id, limit=100).data,
        lambda events: any(event.type == "metrics" for event in events) or jobs.retrieve(made.id).status == "failed",
    )
    assert jobs.pause(made.id).status in ("pausing", "paused")
    paused = until(lambda: jobs.retrieve(made.id), lambda job: job.status != "pausing")
    assert paused.status == "paused", paused
    assert jobs.resume(made.id).status == "queued"
    done = until(lambda: jobs.retrieve(made.id), lambda job: job.status in ("succeeded", "failed", "cancelled"))
    assert done.status == "succeeded", done.error
    assert strict.fine_tuning.jobs.retrieve(made.id) == done
    assert (done.hyperparameters.n_epochs, done.hyperparameters.batch_size) == (3, 1)
    assert isinstance(done.hyperparameters.learning_rate_multiplier, (int, float)), done.hyperparameters
    assert done.trained_tokens
    assert done.finished_at
    assert done.fine_tuned_model.startswith(f"ft:{base}:")
    assert ":words:" in done.fine_tuned_model
    for change in (jobs.cancel, jobs.pause, jobs.resume):
        with refused(openai.ConflictError, 409, "invalid_job_state", "succeeded"):
            change(made.id)
    return done


def watched(client: OpenAI, strict: OpenAI, done: Any) -> str:
    """Events, checkpoints, the result file and what the server says beyond the protocol; gives a checkpoint's name."""
    events = list(strict.fine_tuning.jobs.list_events(done.id, limit=7))[::-1]
    assert len({event.id for event in events}) == len(events)
    messages = [event.message for event in events]
    assert messages[0] == f"Created fine-tuning job: {done.id}"
    assert "success" in messages[-1], messages[-3:]
    steps = [event.data["step"] for event in events if event.type == "metrics"]  # type: ignore[index]
    assert steps == sorted(set(steps)), steps
    lived = client.get(f"/burnish/jobs/{done.id}/events", cast_to=str)
    seen = [line.removeprefix("id: ") for line in lived.splitlines() if line.startswith("id: ")]
    assert seen == [event.id for event in events]
    checkpoints = list(strict.fine_tuning.jobs.checkpoints.list(done.id))
    assert checkpoints
    assert all(each.fine_tuned_model_checkpoint.endswith(f":ckpt-step-{each.step_number}") for each in checkpoints)
    assert len(done.result_files) == 1
    assert strict.files.retrieve(done.result_files[0]).purpose == "fine-tune-results"
    table = client.files.content(done.result_files[0]).text
    assert table.startswith(COLUMNS), table[:200]
    encoded = client.get(f"/files/{done.result_files[0]}/content?encoding=base64", cast_to=str)
    assert base64.b64decode(encoded).decode() == table
    verdict: Any = client.get(f"/burnish/jobs/{done.id}/verdict", cast_to=object)
    assert verdict["verdict"]["answer"]
    report = client.get(f"/burnish/jobs/{done.id}/report", cast_to=str)
    assert "<html" in report
    lineage: Any = client.get(f"/burnish/models/{done.fine_tuned_model}/lineage", cast_to=object)
    assert {"run", "base"} <= {each["role"] for each in lineage["lineage"]}, lineage
    return str(checkpoints[0].fine_tuned_model_checkpoint)


def chat(client: OpenAI, strict: OpenAI, model: str) -> None:
    """Answers whole and in pieces are the same."""
    messages: Any = [{"role": "user", "content": PROMPT}]
    given = {"model": model, "messages": messages, "max_completion_tokens": 12, "temperature": 0}
    whole = strict.chat.completions.create(**given)
    assert (whole.model, whole.object) == (model, "chat.completion")
    pieces = list(strict.chat.completions.create(**given, stream=True))
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert said == whole.choices[0].message.content
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    with refused(openai.NotFoundError, 404, "model_not_found"):
        client.chat.completions.create(**{**given, "model": "ft:nothing"})


def classifier(client: OpenAI, base: str, labelled: bytes) -> None:
    """The same for a task that the protocol has no words for."""
    file = client.files.create(file=("labelled.jsonl", labelled), purpose="fine-tune")
    made = client.fine_tuning.jobs.create(
        model=base,
        training_file=file.id,
        hyperparameters={"n_epochs": 2},
        extra_body={"burnish": {"task": "text-classification"}},
    )
    jobs = client.fine_tuning.jobs
    done = until(lambda: jobs.retrieve(made.id), lambda job: job.status in ("succeeded", "failed"))
    assert done.status == "succeeded", done.error
    found: Any = client.post(
        "/burnish/predict", body={"model": done.fine_tuned_model, "input": [PROMPT]}, cast_to=object
    )
    assert found["data"], found
    with refused(openai.BadRequestError, 400, None, "/v1/burnish/predict"):
        client.chat.completions.create(model=done.fine_tuned_model, messages=[{"role": "user", "content": "card"}])


def main(url: str, key: str, limited: str, base: str, rows: str, *classification: str) -> None:
    client = OpenAI(base_url=url, api_key=key)
    strict = OpenAI(base_url=url, api_key=key, _strict_response_validation=True)
    with refused(openai.AuthenticationError, 401, "invalid_api_key"):
        OpenAI(base_url=url, api_key="sk-of-somewhere-else").models.list()
    with refused(openai.PermissionDeniedError, 403, "insufficient_permissions", "writer"):
        client.with_options(api_key=limited).files.create(file=io.BytesIO(b"x"), purpose="batch")
    poor = client.with_options(api_key=limited, max_retries=0)
    with refused(openai.RateLimitError, 429, "rate_limit_exceeded"):
        for _ in range(100):
            poor.files.list()
    content = Path(rows).read_bytes()
    file = files(client, strict, content)
    assert base in [model.id for model in strict.models.list()]
    wrong_jobs(client, base, file, content)
    done = job(client, strict, base, file)
    checkpoint = watched(client, strict, done)
    for model in (done.fine_tuned_model, checkpoint):
        chat(client, strict, model)
        assert strict.models.retrieve(model).id == model
    assert strict.models.delete(done.fine_tuned_model).deleted
    with refused(openai.NotFoundError, 404, "model_not_found"):
        client.models.retrieve(done.fine_tuned_model)
    with refused(openai.PermissionDeniedError, 403, "model_not_deletable"):
        client.models.delete(base)
    assert client.files.delete(file).deleted
    if classification:
        classifier(client, classification[0], Path(classification[1]).read_bytes())
    print(json.dumps({"openai": openai.__version__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
