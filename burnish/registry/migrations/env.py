"""What Alembic runs: the steps, on the connection that it is handed."""

from __future__ import annotations

from alembic import context

from burnish.registry.tables import METADATA


def take_the_steps() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        transactional_ddl=True,  # all steps or none, on SQLite too
    )
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # Alembic runs this file, it does not call it
    take_the_steps()
