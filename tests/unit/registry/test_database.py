"""The database is made once, whole or not at all, and says clearly what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from burnish.errors import DamagedStoreError, RegistryError, UsageError
from burnish.registry import database, service_tables
from burnish.registry.database import HEAD, open_database, writing
from burnish.registry.tables import METADATA


def test_the_steps_lead_to_the_tables_the_code_reads(tmp_path: Path) -> None:
    engine = open_database(tmp_path, None)
    found = inspect(engine)
    assert service_tables.JOBS.metadata is METADATA
    assert set(found.get_table_names()) == {*METADATA.tables, "alembic_version"}
    for name, table in METADATA.tables.items():
        assert {column["name"] for column in found.get_columns(name)} == set(table.columns.keys())
        assert {index["name"] for index in found.get_indexes(name)} == {index.name for index in table.indexes}
    assert ScriptDirectory(str(Path(database.__file__).parent / "migrations")).get_current_head() == HEAD


def test_tables_that_could_not_all_be_made_are_not_made_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = command.upgrade

    def dies(config: object, target: str) -> None:
        upgrade(config, target)  # type: ignore[arg-type]
        raise RuntimeError("the process dies")

    monkeypatch.setattr(command, "upgrade", dies)
    with pytest.raises(RuntimeError):
        open_database(tmp_path, None)
    monkeypatch.undo()
    engine = open_database(tmp_path, None)
    with writing(engine) as connection:
        assert connection.execute(text("SELECT writes FROM state")).scalar() == 1


def test_a_registry_of_a_later_burnish_is_refused(tmp_path: Path) -> None:
    with writing(open_database(tmp_path, None)) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    open_database.cache_clear()
    with pytest.raises(RegistryError) as caught:
        open_database(tmp_path, None)
    assert caught.value.code == "registry/newer-format"


def test_a_file_that_is_no_database_is_a_damaged_store(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(DamagedStoreError, match="not a database"):
        open_database(tmp_path, None)


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "://"])
def test_a_url_of_no_database_we_speak_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_database(tmp_path, url)
    assert caught.value.code == "registry/bad-url"
    assert caught.value.where == "BURNISH_DATABASE_URL"


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pg8000 is not installed") as caught:
        open_database(tmp_path, "postgresql://host/name")
    assert caught.value.code == "registry/needs-package"


def test_a_server_that_does_not_answer_is_one_line_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("pg8000")
    with pytest.raises(RegistryError) as caught:
        open_database(tmp_path, "postgresql://somebody:secret@127.0.0.1:1/name")
    assert caught.value.code == "registry/unreachable"
    assert "secret" not in str(caught.value)
