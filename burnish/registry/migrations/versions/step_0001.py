"""The first tables: versions, their parents, aliases and the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    state = op.create_table(
        "state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("writes", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"id": 1, "writes": 0}])
    op.create_table(
        "versions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("number", sa.Integer),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("touched", sa.Float, nullable=False),
        sa.Column("place", sa.Text),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("task", sa.String(64)),
        sa.Column("method", sa.String(32)),
        sa.Column("base", sa.String(256)),
        sa.Column("status", sa.String(32)),
        sa.Column("answer", sa.String(32)),
        sa.Column("metric", sa.String(64)),
        sa.Column("value", sa.Float),
        sa.UniqueConstraint("kind", "name", "number", name="one_number"),
    )
    op.create_index("by_kind", "versions", ["kind", "state", "created"])
    op.create_index("by_name", "versions", ["kind", "name"])
    op.create_table(
        "parents",
        sa.Column("child", sa.String(64), sa.ForeignKey("versions.id"), primary_key=True),
        sa.Column("role", sa.String(32), primary_key=True),
        sa.Column("parent", sa.String(64), sa.ForeignKey("versions.id"), nullable=False),
    )
    op.create_index("by_parent", "parents", ["parent"])
    op.create_table(
        "aliases",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("alias", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
    )
    op.create_table(
        "log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
    )
