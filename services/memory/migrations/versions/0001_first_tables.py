"""The first tables."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_row_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Makes all tables, and the key that page tokens are made under."""
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("system_prompt", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("create_ns", sa.BigInteger, nullable=False),
        sa.Column("update_ns", sa.BigInteger, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("message_count", sa.BigInteger, nullable=False),
        sa.Column("window_start_sequence", sa.BigInteger, nullable=False),
    )
    op.create_index("conversations_by_use", "conversations", ["user_id", "update_ns", "id"])
    op.create_table(
        "messages",
        sa.Column("id", _row_id, primary_key=True, autoincrement=True),
        sa.Column("conversation_id", sa.Text, sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("author", sa.Text),
        sa.Column("create_ns", sa.BigInteger, nullable=False),
        sa.Column("finish_reason", sa.SmallInteger, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("cached_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("reply_to", sa.BigInteger),
        sa.Column("superseded", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.UniqueConstraint("conversation_id", "sequence"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vectors",
        sa.Column("message_id", _row_id, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("user_id", "position"),
    )
    op.create_table(
        "unembedded",
        sa.Column("message_id", _row_id, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("awaited", sa.Boolean, nullable=False),
    )
    op.create_index("unembedded_by_user", "unembedded", ["user_id", "message_id"])
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sa.Column("deletion_counter", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("conversation_id", sa.Text),
        sa.Column("first_sequence", sa.BigInteger),
        sa.Column("conversation_count", sa.BigInteger),
        sa.Column("message_count", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    keys = op.create_table(
        "service_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(keys, [{"name": "page_tokens", "value": secrets.token_bytes(32)}])
