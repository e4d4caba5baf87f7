"""The tables of the registry: versions with their lineage, aliases, and the chain of what was promoted when.

A row of `versions` carries, as `content`, the JSON whose sha256 is its id; the columns beside it are copies to search
by. Rows of `aliases` and `log` carry a hash of themselves, so that a changed bit is found here too.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

PENDING, READY, DOOMED = "pending", "ready", "doomed"  # being stored; stored whole; being deleted

METADATA = MetaData()

STATE = Table(  # one row: every writer updates it first, so writers of any database go one after the other
    "state",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("writes", BigInteger, nullable=False),
)

VERSIONS = Table(
    "versions",
    METADATA,
    Column("id", String(64), primary_key=True),  # sha256 of `content`
    Column("content", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(128), nullable=False),
    Column("number", Integer),  # 1, 2, 3... of the models of a name
    Column("state", String(8), nullable=False),
    Column("created", String(32), nullable=False),  # ISO 8601, UTC
    Column("touched", Float, nullable=False),  # seconds since the epoch
    Column("place", Text),  # the folder it was made from, which may be gone
    Column("size_bytes", BigInteger, nullable=False),
    Column("task", String(64)),
    Column("method", String(32)),
    Column("base", String(256)),
    Column("status", String(32)),
    Column("answer", String(32)),
    Column("metric", String(64)),
    Column("value", Float),
    UniqueConstraint("kind", "name", "number", name="one_number"),
    Index("by_kind", "kind", "state", "created"),
    Index("by_name", "kind", "name"),
)

PARENTS = Table(
    "parents",
    METADATA,
    Column("child", String(64), ForeignKey("versions.id"), primary_key=True),
    Column("role", String(32), primary_key=True),  # "data", "base", "run", "parent"
    Column("parent", String(64), ForeignKey("versions.id"), nullable=False),
    Index("by_parent", "parent"),
)

ALIASES = Table(
    "aliases",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("version", String(64), ForeignKey("versions.id"), nullable=False),
    Column("seal", String(64), nullable=False),  # sha256 of the columns before it
)

LOG = Table(
    "log",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("entry", Text, nullable=False),  # JSON: time, action, name, alias, version, before, gates
    Column("name", String(128), nullable=False),
    Column("alias", String(64), nullable=False),
    Column("seal", String(64), nullable=False),  # sha256 of the seal before it and the entry
)
