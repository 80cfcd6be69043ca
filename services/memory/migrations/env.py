"""Runs migrations on the connection that `store.migrate` gives, within its transaction."""

from __future__ import annotations

from alembic import context

from services.memory.store.tables import metadata

# A table is changed by copying on SQLite, which cannot alter most things in place.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
