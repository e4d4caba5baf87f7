"""The tables of the service: keys, files, jobs with their events and checkpoints, served models, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float),
        sa.Column("revoked", sa.Float),
        sa.Column("used", sa.Float),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("concurrency", sa.Integer),
        sa.Column("tokens_per_day", sa.BigInteger),
        sa.Column("max_jobs", sa.Integer),
    )
    op.create_table(
        "usage",
        sa.Column("key", sa.String(32), sa.ForeignKey("keys.id"), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "files",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float),
        sa.Column("filename", sa.String(256), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.create_index("files_of_project", "files", ["project", "created"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("filename", sa.String(256), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("mime_type", sa.String(128), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("keep_seconds", sa.Integer),
        sa.Column("file", sa.String(40)),
    )
    op.create_table(
        "upload_parts",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("upload", sa.String(40), sa.ForeignKey("uploads.id"), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.create_index("parts_of_upload", "upload_parts", ["upload"])
    op.create_table(
        "service_logs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("place", sa.String(512), nullable=False),
        sa.Column("entries", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("key", sa.String(32)),
        sa.Column("idempotency_key", sa.String(256)),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("wanted", sa.String(16)),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("chosen", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("training_file", sa.String(40), nullable=False),
        sa.Column("validation_file", sa.String(40)),
        sa.Column("result_file", sa.String(40)),
        sa.Column("model", sa.String(512)),
        sa.Column("error", sa.Text),
        sa.Column("started", sa.Float),
        sa.Column("finished", sa.Float),
        sa.Column("trained_tokens", sa.BigInteger),
        sa.Column("run", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("slot", sa.String(8), nullable=False),
        sa.Column("worker", sa.String(64)),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Float),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.UniqueConstraint("project", "idempotency_key", name="one_job_per_idempotency_key"),
    )
    op.create_index("jobs_in_line", "jobs", ["status", "slot", "priority", "place"])
    op.create_index("jobs_of_project", "jobs", ["project", "place"])
    op.create_index("jobs_held", "jobs", ["lease_until", "key"])
    op.create_table(
        "job_metadata",
        sa.Column("job", sa.String(40), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(512), nullable=False),
    )
    op.create_table(
        "job_events",
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("job", sa.String(40), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("once", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("type", sa.String(8), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.UniqueConstraint("job", "once", name="told_once"),
    )
    op.create_table(
        "job_checkpoints",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("job", sa.String(40), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.UniqueConstraint("job", "step", name="one_checkpoint_per_step"),
    )
    op.create_table(
        "served_models",
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("job", sa.String(40), sa.ForeignKey("jobs.id")),
        sa.Column("version", sa.String(64), sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("deleted", sa.Float),
    )
    op.create_index("served_of_project", "served_models", ["project", "created"])
