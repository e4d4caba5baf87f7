"""Keys of the service: who may ask for what, stored only as sha256.

A key is "bk_<id>_<secret>"; its secret has 256 bits, so that one round of sha256 is enough to hide it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from burnish.errors import RegistryError, UsageError, excerpt
from burnish.registry.database import reading, writing
from burnish.registry.service_tables import KEYS, USAGE
from burnish.registry.store import Registry

ROLES = ("admin", "writer", "reader", "inference")
DEFAULT_PROJECT = "default"
DAY_SECONDS = 86_400
_KEY = re.compile(r"bk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Key:
    """What is stored of a key; its secret is not."""

    id: str
    project: str
    role: str
    name: str
    created: float  # seconds since the epoch, like all times here
    expires: float | None
    revoked: float | None
    used: float | None  # about when last
    requests_per_minute: int | None  # None: no limit, as below
    concurrency: int | None
    tokens_per_day: int | None
    max_jobs: int | None

    def valid(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def create_key(
    registry: Registry,
    *,
    role: str,
    project: str = DEFAULT_PROJECT,
    name: str = "",
    expires: float | None = None,
    limits: Mapping[str, int | None] | None = None,
) -> tuple[Key, str]:
    """A new key, and its text, which nobody can read again.

    Args:
        expires: seconds since the epoch; None: never.
        limits: requests_per_minute, concurrency, tokens_per_day, max_jobs.

    Raises:
        UsageError: [keys/unknown-role], [keys/bad-project], [keys/bad-name].
    """
    if role not in ROLES:
        raise UsageError("keys/unknown-role", f'there is no role "{excerpt(role)}"', where="--role", known=ROLES)
    require_project(project)
    if len(name) > 128 or not (name == "" or name.isprintable()):
        raise UsageError("keys/bad-name", "a name has at most 128 printable characters", where="--name")
    id_ = secrets.token_hex(8)
    text = f"bk_{id_}_{secrets.token_urlsafe(32)}"
    row = {"id": id_, "project": project, "role": role, "name": name, "created": time.time(), "expires": expires}
    with writing(registry.engine) as connection:
        connection.execute(insert(KEYS).values(**row, sha256=_sha256(text), **(limits or {})))
    return _get(registry, id_), text


def require_project(name: str) -> None:
    """Raises UsageError [keys/bad-project] for a name that no project can have."""
    if not _PROJECT.fullmatch(name):
        raise UsageError(
            "keys/bad-project",
            f'"{excerpt(name)}" cannot name a project',
            where="--project",
            hint="letters, digits, dots, dashes and underscores, at most 64",
        )


def check_key(registry: Registry, text: str) -> Key | None:
    """The key that a text is; None when there is none, or when it was revoked or has expired.

    Cost: one look-up; the secrets are compared in the same time wherever they differ.
    """
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    with reading(registry.engine) as connection:
        row = connection.execute(select(KEYS).where(KEYS.c.id == match.group(1))).mappings().one_or_none()
    stored = str(row["sha256"]) if row is not None else _sha256("")
    if not hmac.compare_digest(stored, _sha256(text)) or row is None:
        return None
    key = _key(row)
    return key if key.valid(time.time()) else None


def any_keys(registry: Registry) -> bool:
    """Was ever a key made? From then on nobody comes in without one, also when all of them are revoked."""
    with reading(registry.engine) as connection:
        return connection.scalar(select(KEYS.c.id).limit(1)) is not None


def list_keys(registry: Registry, *, project: str | None = None) -> list[Key]:
    """Keys of a project or of all, newest first."""
    query = select(KEYS).order_by(KEYS.c.created.desc())
    with reading(registry.engine) as connection:
        rows = connection.execute(query if project is None else query.where(KEYS.c.project == project)).mappings().all()
    return [_key(row) for row in rows]


def revoke_key(registry: Registry, key_id: str) -> Key:
    """Ends a key for good; one that has ended already stays as it is.

    Args:
        key_id: its id, or "bk_<id>", or the whole key.

    Raises:
        RegistryError: [keys/not-found].
    """
    id_ = key_id.removeprefix("bk_").split("_")[0]
    with writing(registry.engine) as connection:
        open_ = (KEYS.c.id == id_) & KEYS.c.revoked.is_(None)
        connection.execute(update(KEYS).where(open_).values(revoked=time.time()))
    return _get(registry, id_)


def note_use(registry: Registry, used: Mapping[str, tuple[float, int, int]]) -> None:
    """Adds to what keys have used today.

    Args:
        used: id of a key -> (when last, requests, tokens) since the last note.
    """
    with writing(registry.engine) as connection:
        for key, (when, requests, tokens) in used.items():
            connection.execute(update(KEYS).where(KEYS.c.id == key).values(used=when))
            day = int(when // DAY_SECONDS)
            mine = (USAGE.c.key == key) & (USAGE.c.day == day)
            more = {"requests": USAGE.c.requests + requests, "tokens": USAGE.c.tokens + tokens}
            if connection.execute(update(USAGE).where(mine).values(**more)).rowcount == 0:
                connection.execute(insert(USAGE).values(key=key, day=day, requests=requests, tokens=tokens))


def tokens_today(registry: Registry, key_id: str, now: float) -> int:
    """Tokens that a key has used since midnight UTC, as far as they were noted."""
    query = select(USAGE.c.tokens).where(USAGE.c.key == key_id, USAGE.c.day == int(now // DAY_SECONDS))
    with reading(registry.engine) as connection:
        return int(connection.scalar(query) or 0)


def _get(registry: Registry, key_id: str) -> Key:
    with reading(registry.engine) as connection:
        row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).mappings().one_or_none()
    if row is None:
        raise RegistryError(
            "keys/not-found", f'there is no key "{excerpt(key_id, 20)}"', hint="list them with `burnish keys list`"
        )
    return _key(row)


def _key(row: RowMapping) -> Key:
    return Key(**{name: row[name] for name in Key.__dataclass_fields__})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
