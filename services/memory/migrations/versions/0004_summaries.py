"""A conversation's running summary, and where its title comes from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds columns: nothing stored so far is summarised, and no title is known to be anybody's."""
    op.add_column("conversations", sa.Column("summary", sa.Text, nullable=False, server_default=sa.text("''")))
    for name, kind in (("summary_through_sequence", sa.BigInteger), ("title_source", sa.SmallInteger)):
        op.add_column("conversations", sa.Column(name, kind, nullable=False, server_default=sa.text("0")))
