"""A message's terms beside its vector, for search by words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the column, empty: what is stored so far is of another recipe and is made anew in the background."""
    op.add_column("vectors", sa.Column("terms", sa.LargeBinary, nullable=False, server_default=sa.text("''")))
