"""Keys: what is stored of them, what they are good for, and how they end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from burnish.errors import RegistryError, UsageError
from burnish.registry.keys import any_keys, check_key, create_key, list_keys, note_use, revoke_key, tokens_today
from burnish.registry.store import Registry, open_registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry(tmp_path)


def test_a_key_is_known_by_its_text_and_its_secret_is_stored_nowhere(registry: Registry, tmp_path: Path) -> None:
    assert not any_keys(registry)
    key, text = create_key(registry, role="writer", project="a", name="ci", limits={"concurrency": 2})
    found = check_key(registry, text)
    assert found == key
    assert (key.role, key.project, key.name, key.concurrency, key.tokens_per_day) == ("writer", "a", "ci", 2, None)
    assert any_keys(registry)
    secret = text.removeprefix(f"bk_{key.id}_").encode()
    assert len(secret) == 43
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_what_is_not_the_whole_key_is_none(registry: Registry) -> None:
    _, text = create_key(registry, role="admin")
    other = text[:-1] + ("A" if text[-1] != "A" else "B")
    for wrong in (
        "",
        "bk_",
        text[:-1],
        f"{text}x",
        other,
        text.upper(),
        f" {text}",
        text.replace("bk_", "sk_"),
        "é" * 64,
    ):
        assert check_key(registry, wrong) is None


def test_a_key_ends_by_time_or_by_hand_and_still_counts(registry: Registry) -> None:
    _, late = create_key(registry, role="reader", expires=time.time() - 1)
    assert check_key(registry, late) is None
    key, text = create_key(registry, role="reader")
    revoked = revoke_key(registry, text)  # by its text or by its id
    assert check_key(registry, text) is None
    assert revoke_key(registry, key.id).revoked == revoked.revoked
    assert any_keys(registry)  # nobody comes in without a key because all have ended
    with pytest.raises(RegistryError, match="no key"):
        revoke_key(registry, "0" * 16)


def test_roles_and_projects_are_checked(registry: Registry) -> None:
    for wrong in ({"role": "root"}, {"role": "admin", "project": "../x"}, {"role": "admin", "name": "a\nb"}):
        with pytest.raises(UsageError):
            create_key(registry, **wrong)
    create_key(registry, role="admin", project="a")
    create_key(registry, role="reader", project="b")
    assert [key.project for key in list_keys(registry)] == ["b", "a"]
    assert [key.role for key in list_keys(registry, project="a")] == ["admin"]


def test_use_adds_up_by_day(registry: Registry) -> None:
    key, _ = create_key(registry, role="inference")
    now = 86_400.0 * 20_000 + 5
    note_use(registry, {key.id: (now, 1, 70)})
    note_use(registry, {key.id: (now + 9, 2, 30)})
    assert tokens_today(registry, key.id, now + 60) == 100
    assert tokens_today(registry, key.id, now + 86_400) == 0
    assert list_keys(registry)[0].used == now + 9
