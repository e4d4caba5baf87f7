"""Versions: stored once, found by what people type, verified, deleted only when nobody needs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from burnish.errors import DamagedStoreError, RegistryError, RunError, UsageError
from burnish.registry.aliases import point
from burnish.registry.database import writing
from burnish.registry.store import Registry
from burnish.registry.tables import DOOMED, PENDING, VERSIONS
from burnish.registry.version import NewVersion
from burnish.storage.version_store import LocalStore

New = Callable[..., NewVersion]


def test_the_same_content_is_the_same_version(registry: Registry, new_model: New) -> None:
    first, again = registry.put(new_model()), registry.put(new_model())
    assert first == again
    assert first.label == "tickets:1"
    assert [version.id for version in registry.versions("model")] == [first.id]


def test_other_content_or_facts_or_parents_are_another_version(registry: Registry, new_model: New) -> None:
    base = registry.put(NewVersion("base", "minilm", facts={"sha256": "ab"}))
    made = [new_model(), new_model("other"), new_model(facts={"a": 1}), new_model(parents={"base": base.id})]
    stored = [registry.put(each) for each in made]
    assert len({version.id for version in stored}) == 4
    assert [version.number for version in stored] == [1, 2, 3, 4]
    assert registry.put(new_model(name="mails")).label == "mails:1"


def test_files_come_back_verified_and_a_changed_bit_is_refused_by_name(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model())
    stored = registry.folder(version) / "final" / "weights.bin"
    assert stored.read_text(encoding="utf-8") == "weights"
    stored.write_bytes(b"veights")
    with pytest.raises(DamagedStoreError, match=r"final/weights\.bin differs from its sha256"):
        registry.folder(version)


def test_a_list_of_files_that_was_changed_together_with_a_file_is_refused(registry: Registry, new_model: New) -> None:
    version, other = registry.put(new_model()), registry.put(new_model("another"))
    store = registry.store
    assert isinstance(store, LocalStore)
    folder = store.folder(version.id)
    for name in ("files.json", "final/weights.bin"):
        (folder / name).write_bytes((store.folder(other.id) / name).read_bytes())
    with pytest.raises(DamagedStoreError, match=r"final/weights\.bin differs from its sha256"):
        registry.folder(version)


def test_a_changed_list_of_files_and_an_added_file_are_refused(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model())
    folder = registry.folder(version)
    before = (folder / "files.json").read_text(encoding="utf-8")
    for changed in (before.replace("7", "8", 1), before[:-3], "[]"):
        (folder / "files.json").write_text(changed, encoding="utf-8")
        with pytest.raises(DamagedStoreError, match=r"files\.json was changed"):
            registry.folder(version)
    (folder / "files.json").write_text(before, encoding="utf-8")
    (folder / "final" / "pytorch_model.bin").write_bytes(b"planted")
    with pytest.raises(DamagedStoreError, match=r"final/pytorch_model\.bin was added"):
        registry.folder(version)


def test_an_entry_that_was_changed_is_refused(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model(facts={"rows": 1}))
    with writing(registry.engine) as connection:
        connection.execute(update(VERSIONS).values(content=VERSIONS.c.content.op("||")(" ")))
    registry.get(version.id)  # the same JSON
    with writing(registry.engine) as connection:
        connection.execute(update(VERSIONS).values(content='{"facts":{"rows":2}}'))
    with pytest.raises(DamagedStoreError, match="was changed"):
        registry.get(version.id)


def test_what_people_type_finds_a_version(registry: Registry, new_model: New) -> None:
    first, second = registry.put(new_model()), registry.put(new_model("second"))
    point(registry, first, "champion", gates=())
    point(registry, second, "night", gates=())
    for typed in ("tickets:1", "tickets:champion", "champion", "tickets", first.id, first.id[:12]):
        assert registry.find(typed).id == first.id, typed
    for typed in ("tickets:2", "night", "tickets:night"):
        assert registry.find(typed).id == second.id, typed


def test_an_alias_of_two_names_is_ambiguous(registry: Registry, new_model: New) -> None:
    for name in ("tickets", "mails"):
        point(registry, registry.put(new_model(name=name)), "champion", gates=())
    with pytest.raises(RegistryError) as caught:
        registry.find("champion")
    assert caught.value.code == "registry/ambiguous"
    assert set(caught.value.known) == {"tickets:1", "mails:1"}


@pytest.mark.parametrize("typed", ["nothing", "tickets:9", "tickets:other", "abcdef", "abc", "", ":", "a:b:c"])
def test_what_nobody_stored_is_not_found(registry: Registry, new_model: New, typed: str) -> None:
    registry.put(new_model())
    with pytest.raises(RegistryError) as caught:
        registry.find(typed)
    assert caught.value.code == "registry/not-found"
    assert "tickets:1" in caught.value.known


@pytest.mark.parametrize("name", ["", "../up", "a b", "x" * 129, ".hidden", "tickets:1", "é"])
def test_a_name_that_could_be_a_path_or_a_reference_is_refused(registry: Registry, new_model: New, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.put(new_model(name=name))
    assert caught.value.code == "registry/bad-name"


def test_a_parent_must_be_there_and_lineage_walks_to_the_beginning(registry: Registry, new_model: New) -> None:
    with pytest.raises(RegistryError, match="there is no version"):
        registry.put(new_model(parents={"base": "0" * 64}))
    assert registry.versions("model") == []
    base = registry.put(NewVersion("base", "minilm"))
    run = registry.put(NewVersion("run", "run-1", parents={"base": base.id}))
    model = registry.put(new_model(parents={"run": run.id, "base": base.id}))
    assert [(g, role, v.kind) for g, role, v in registry.lineage(model)] == [(1, "base", "base"), (1, "run", "run")]
    assert set(registry.children(base.id)) == {run.id, model.id}


def test_what_is_needed_is_not_deleted(registry: Registry, new_model: New) -> None:
    base = registry.put(NewVersion("base", "minilm"))
    model = registry.put(new_model(parents={"base": base.id}))
    point(registry, model, "champion", gates=())
    for version, needs in ((base, f"version {model.id[:12]}"), (model, "tickets:champion")):
        with pytest.raises(RegistryError) as caught:
            registry.delete(version)
        assert caught.value.code == "registry/needed"
        assert caught.value.known == (needs,)
    other = registry.put(new_model("other", parents={"base": base.id}))
    folder = registry.folder(other)
    registry.delete(other)
    assert not folder.exists()
    assert registry.children(base.id) == [model.id]


def test_a_deletion_that_died_halfway_is_invisible_finished_and_can_be_stored_anew(
    registry: Registry, new_model: New
) -> None:
    version = registry.put(new_model())
    with writing(registry.engine) as connection:
        connection.execute(update(VERSIONS).values(state=DOOMED))
    with pytest.raises(RegistryError):
        registry.find(version.id)
    again = registry.put(new_model())
    assert again.id == version.id
    assert registry.folder(again).is_dir()


def test_storing_that_died_halfway_is_finished_by_the_next_attempt(registry: Registry, new_model: New) -> None:
    version = registry.put(new_model())
    with writing(registry.engine) as connection:
        connection.execute(update(VERSIONS).values(state=PENDING, number=None))
    (registry.store.folder(version.id) / "final" / "weights.bin").write_bytes(b"hal")
    with pytest.raises(RegistryError):
        registry.get(version.id)
    again = registry.put(new_model())
    assert (again.id, again.number) == (version.id, 1)
    registry.folder(again)


def test_a_file_that_changes_while_it_is_stored_is_refused(
    registry: Registry, new_model: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = new_model()
    publish = registry.store.publish

    def change_first(version: str, files: dict[str, Path]) -> None:
        new.files["final/weights.bin"].write_text("changed", encoding="utf-8")
        publish(version, files)

    monkeypatch.setattr(registry.store, "publish", change_first)
    with pytest.raises(RunError) as caught:
        registry.put(new)
    assert caught.value.code == "run/changed"
    assert registry.versions("model") == []


def test_lists_filter_by_columns_newest_first(registry: Registry, new_model: New) -> None:
    for number in range(3):
        search = {"task": "chat" if number else "embedding", "answer": "better", "value": 0.5}
        registry.put(dataclasses.replace(new_model(str(number)), search=search))
    assert [version.number for version in registry.versions("model", task="chat")] == [3, 2]
    assert [version.number for version in registry.versions("model", limit=1)] == [3]
    assert registry.versions("model", task="chat", answer="worse") == []
