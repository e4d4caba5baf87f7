"""Aliases move, are rolled back, and cannot be changed behind the registry's back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update

from burnish.errors import DamagedStoreError, RegistryError, UsageError
from burnish.registry.aliases import aliases, earlier, ever_meant, log, point, roll_back
from burnish.registry.database import reading, writing
from burnish.registry.store import Registry
from burnish.registry.tables import ALIASES, LOG
from burnish.registry.version import NewVersion

New = Callable[..., NewVersion]


def test_an_alias_means_one_version_and_is_rolled_back_step_by_step(registry: Registry, new_model: New) -> None:
    versions = [registry.put(new_model(str(number))) for number in range(3)]
    for version in versions:
        point(registry, version, "champion", gates=())
    assert earlier(registry, "tickets", "champion") == versions[1].id
    assert roll_back(registry, "tickets", "champion", to=versions[1].id) == versions[2].id
    assert roll_back(registry, "tickets", "champion", to=versions[0].id) == versions[1].id
    for look in (earlier, lambda *place: roll_back(*place, to=versions[0].id)):
        with pytest.raises(RegistryError) as caught:
            look(registry, "tickets", "champion")
        assert caught.value.code == "registry/nothing-before"
    point(registry, versions[2], "champion", gates=())
    assert roll_back(registry, "tickets", "champion", to=versions[0].id) == versions[2].id
    assert [alias.version for alias in aliases(registry)] == [versions[0].id]
    actions = [entry["action"] for entry in log(registry)]
    assert actions == [*["promote"] * 3, *["roll back"] * 2, "promote", "roll back"]


def test_the_same_promotion_twice_is_one(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model())
    assert point(registry, version, "champion", gates=()) is None
    assert point(registry, version, "champion", gates=()) == version.id
    assert len(log(registry)) == 1


def test_all_that_an_alias_can_go_back_to_is_known(registry: Registry, new_model: New) -> None:
    first, second, third = (registry.put(new_model(str(number))) for number in range(3))
    for version in (first, second):
        point(registry, version, "champion", gates=())
    point(registry, third, "night", gates=())
    with reading(registry.engine) as connection:
        assert ever_meant(connection) == {first.id, second.id, third.id}
    roll_back(registry, "tickets", "champion", to=first.id)
    with reading(registry.engine) as connection:
        assert ever_meant(connection) == {first.id, third.id}


def test_an_alias_that_somebody_else_moved_is_not_rolled_back(registry: Registry, new_model: New) -> None:
    first, second, third = (registry.put(new_model(str(number))) for number in range(3))
    for version in (first, second):
        point(registry, version, "champion", gates=())
    seen = earlier(registry, "tickets", "champion")
    point(registry, third, "champion", gates=())
    with pytest.raises(RegistryError) as caught:
        roll_back(registry, "tickets", "champion", to=seen)
    assert caught.value.code == "registry/moved"
    assert [alias.version for alias in aliases(registry)] == [third.id]


@pytest.mark.parametrize("alias", ["", "1st", "Best", "a b", "x" * 65, "a:b", "../x"])
def test_an_alias_is_small_letters_and_never_a_number(registry: Registry, new_model: New, alias: str) -> None:
    with pytest.raises(UsageError) as caught:
        point(registry, registry.put(new_model()), alias, gates=())
    assert caught.value.code == "registry/bad-name"


def test_a_version_that_was_deleted_in_the_meantime_is_not_promoted(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model())
    registry.delete(version)
    with pytest.raises(RegistryError, match="there is no version"):
        point(registry, version, "champion", gates=())
    assert aliases(registry) == []


def test_an_alias_and_a_log_that_were_changed_are_refused(registry: Registry, new_model: New) -> None:
    first, second = registry.put(new_model()), registry.put(new_model("second"))
    for version in (first, second):
        point(registry, version, "champion", gates=())
    with writing(registry.engine) as connection:
        connection.execute(update(ALIASES).values(version=first.id))
    with pytest.raises(DamagedStoreError, match="alias tickets:champion was changed"):
        aliases(registry)
    with writing(registry.engine) as connection:
        connection.execute(update(LOG).where(LOG.c.id == 1).values(entry=LOG.c.entry.op("||")(" ")))
    with pytest.raises(DamagedStoreError, match="log of promotions"):
        log(registry)
