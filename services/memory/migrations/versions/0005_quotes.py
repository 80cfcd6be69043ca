"""What was quoted to the model for each reply."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds columns, empty: of the replies stored so far nobody knows."""
    for name, kind, empty in (("quotes", sa.Text, "''"), ("quotes_start", sa.BigInteger, "0")):
        op.add_column("messages", sa.Column(name, kind, nullable=False, server_default=sa.text(empty)))
