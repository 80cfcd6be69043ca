"""What conversations that expire, turns and replicas need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds columns, empty, and tables: nothing stored so far expires, is under way or is a replica's."""
    op.add_column("conversations", sa.Column("expire_ns", sa.BigInteger))
    expires = sa.text("expire_ns IS NOT NULL")
    op.create_index(
        "conversations_by_expiry",
        "conversations",
        ["expire_ns", "user_id"],
        sqlite_where=expires,
        postgresql_where=expires,
    )
    op.add_column("unembedded", sa.Column("replica", sa.Text))
    op.create_index("unembedded_by_turn", "unembedded", ["replica", "awaited", "message_id"])
    op.create_table(
        "turns",
        sa.Column("conversation_id", sa.Text, sa.ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("until_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("alive_until_ns", sa.BigInteger, nullable=False),
    )
