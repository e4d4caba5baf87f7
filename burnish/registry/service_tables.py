"""The tables of the service: keys, uploaded files, the queue of jobs with what happened to them, and served models.

Rows belong to a project, and whoever asks sees those of its own. Times are seconds since the epoch.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from burnish.registry.tables import METADATA

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(32), primary_key=True),  # the public part of the key
    Column("sha256", String(64), nullable=False),  # of the whole key, which is stored nowhere
    Column("project", String(64), nullable=False),
    Column("role", String(16), nullable=False),  # "admin", "writer", "reader", "inference"
    Column("name", String(128), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("used", Float),  # about when last
    Column("requests_per_minute", Integer),  # None: no limit
    Column("concurrency", Integer),  # requests at once
    Column("tokens_per_day", BigInteger),  # prompts and answers
    Column("max_jobs", Integer),  # that run at once; more wait in the line
)

USAGE = Table(
    "usage",
    METADATA,
    Column("key", String(32), ForeignKey("keys.id"), primary_key=True),
    Column("day", Integer, primary_key=True),  # days since the epoch
    Column("tokens", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
)

FILES = Table(
    "files",
    METADATA,
    Column("id", String(40), primary_key=True),  # "file-..."
    Column("project", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("filename", String(256), nullable=False),  # as its sender calls it; never a path of ours
    Column("purpose", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Index("files_of_project", "project", "created"),
)

UPLOADS = Table(
    "uploads",
    METADATA,
    Column("id", String(40), primary_key=True),  # "upload_..."
    Column("project", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("status", String(16), nullable=False),  # "pending", "completed", "cancelled", "expired"
    Column("filename", String(256), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("mime_type", String(128), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),  # that it said it would have
    Column("keep_seconds", Integer),  # of the file it becomes; None: until it is deleted
    Column("file", String(40)),
)

PARTS = Table(
    "upload_parts",
    METADATA,
    Column("id", String(40), primary_key=True),  # "part_..."
    Column("upload", String(40), ForeignKey("uploads.id"), nullable=False),
    Column("created", Float, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Index("parts_of_upload", "upload"),
)

SERVICE_LOGS = Table(
    "service_logs",
    METADATA,
    Column("id", String(32), primary_key=True),  # that the first entry names
    Column("place", String(512), nullable=False),  # machine and file; each server writes its own
    Column("entries", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("seal", String(64), nullable=False),  # of the newest entry
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(40), primary_key=True),  # "ftjob-..."
    Column("place", BigInteger, nullable=False),  # in the order of creation, whatever the clock says
    Column("project", String(64), nullable=False),
    Column("key", String(32)),  # who asked for it
    Column("idempotency_key", String(256)),
    Column("created", Float, nullable=False),
    Column("status", String(24), nullable=False),  # of the protocol: validating_files, queued, running, pausing...
    Column("wanted", String(16)),  # "pause" or "cancel", which the worker heeds after its step
    Column("asked", Text, nullable=False),  # JSON: the request as it came
    Column("chosen", Text, nullable=False),  # JSON: what "auto" became, and what the job shows beside
    Column("base", Text, nullable=False),  # as asked: a base, an alias or an "ft:" name
    Column("seed", Integer, nullable=False),
    Column("training_file", String(40), nullable=False),
    Column("validation_file", String(40)),
    Column("result_file", String(40)),
    Column("model", String(512)),  # name of the tuned model
    Column("error", Text),  # JSON: code, message, param
    Column("started", Float),
    Column("finished", Float),
    Column("trained_tokens", BigInteger),
    Column("run", Text),  # folder of the newest attempt
    Column("priority", Integer, nullable=False),  # higher ones first
    Column("slot", String(8), nullable=False),  # "cpu" or "gpu"
    Column("worker", String(64)),
    Column("token", BigInteger, nullable=False),  # fencing: grows with every claim; who holds an older one is too late
    Column("lease_until", Float),
    Column("not_before", Float, nullable=False),  # of the next attempt
    Column("attempts", Integer, nullable=False),  # that failed for a reason of the machine
    UniqueConstraint("project", "idempotency_key", name="one_job_per_idempotency_key"),
    Index("jobs_in_line", "status", "slot", "priority", "place"),
    Index("jobs_of_project", "project", "place"),
    Index("jobs_held", "lease_until", "key"),
)

JOB_METADATA = Table(
    "job_metadata",
    METADATA,
    Column("job", String(40), ForeignKey("jobs.id"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", String(512), nullable=False),
)

JOB_EVENTS = Table(
    "job_events",
    METADATA,
    Column("place", Integer, primary_key=True),  # in the order they were told
    Column("id", String(40), nullable=False, unique=True),  # "ftevent-..."
    Column("job", String(40), ForeignKey("jobs.id"), nullable=False),
    Column("once", String(64), nullable=False),  # what it tells, e.g. "step 20": told once, whoever tells it again
    Column("created", Float, nullable=False),
    Column("level", String(8), nullable=False),  # "info", "warn", "error"
    Column("message", Text, nullable=False),
    Column("type", String(8), nullable=False),  # "message", "metrics"
    Column("data", Text, nullable=False),  # JSON
    UniqueConstraint("job", "once", name="told_once"),
)

JOB_CHECKPOINTS = Table(
    "job_checkpoints",
    METADATA,
    Column("id", String(40), primary_key=True),  # "ftckpt_..."
    Column("job", String(40), ForeignKey("jobs.id"), nullable=False),
    Column("step", Integer, nullable=False),
    Column("token", BigInteger, nullable=False),  # of the claim that published it
    Column("created", Float, nullable=False),
    Column("metrics", Text, nullable=False),  # JSON
    Column("folder", Text, nullable=False),  # of the attempt's run
    Column("model", String(512), nullable=False),  # name that it is served by
    UniqueConstraint("job", "step", name="one_checkpoint_per_step"),
)

SERVED = Table(
    "served_models",
    METADATA,
    Column("name", String(512), primary_key=True),  # "ft:..."
    Column("project", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("job", String(40), ForeignKey("jobs.id")),
    Column("version", String(64), ForeignKey("versions.id"), nullable=False),
    Column("task", String(64), nullable=False),
    Column("deleted", Float),
    Index("served_of_project", "project", "created"),
)
