"""Runs migrations on the connection that `store.migrate` gives, within its transaction."""

from __future__ import annotations

from alembic import context

from services.memory.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # A table is changed by copying on SQLite, which cannot alter most things in place.
    render_as_batch=True,
    on_version_apply=context.config.attributes["on_version_apply"],
)
context.run_migrations()
