"""The tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# SQLite numbers rows by itself only where the key's type is INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")

# Most conversations never expire, and then take no place in the index.
_EXPIRES = text("expire_ns IS NOT NULL")

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("system_prompt", Text, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of the texts: what a page of rows weighs
    Column("create_ns", BigInteger, nullable=False),
    Column("update_ns", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("message_count", BigInteger, nullable=False),  # without superseded ones
    Column("window_start_sequence", BigInteger, nullable=False),
    Column("expire_ns", BigInteger),  # null: never
    Column("summary", Text, nullable=False, server_default=text("''")),
    Column("summary_through_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("title_source", SmallInteger, nullable=False, server_default=text("0")),
    Index("conversations_by_use", "user_id", "update_ns", "id"),
    Index("conversations_by_expiry", "expire_ns", "user_id", sqlite_where=_EXPIRES, postgresql_where=_EXPIRES),
)

messages = Table(
    "messages",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("role", SmallInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("author", Text),
    Column("create_ns", BigInteger, nullable=False),
    Column("finish_reason", SmallInteger, nullable=False),
    Column("prompt_tokens", Integer),  # the three are null together: no usage was given
    Column("cached_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("reply_to", BigInteger),  # a sequence of the same conversation
    Column("superseded", Boolean, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("quotes", Text, nullable=False, server_default=text("''")),  # names of messages, a space between two
    Column("quotes_start", BigInteger, nullable=False, server_default=text("0")),  # a sequence of the same conversation
    UniqueConstraint("conversation_id", "sequence"),
    sqlite_autoincrement=True,  # an id is never used again, so no cache can take one message for another
)

vectors = Table(
    "vectors",
    metadata,
    Column("message_id", _RowId, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("embedder", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),  # place in the user's log of vectors
    Column("vector", LargeBinary, nullable=False),  # `dimension` little-endian IEEE half floats, unit length
    Column("terms", LargeBinary, nullable=False),  # the message's words: see `terms.RECORD`
    UniqueConstraint("user_id", "position"),
)

unembedded = Table(
    "unembedded",
    metadata,
    Column("message_id", _RowId, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("awaited", Boolean, nullable=False),  # false: it is found already, a search need not wait
    Column("replica", Text),  # whose work it is, for as long as that one lives; null: anybody's
    Index("unembedded_by_user", "user_id", "message_id"),
    Index("unembedded_by_turn", "replica", "awaited", "message_id"),
)

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("last_position", BigInteger, nullable=False),
    # Starts at random, so that a user who was deleted and came back is never taken for the former one.
    Column("deletion_counter", BigInteger, nullable=False),
)

turns = Table(
    "turns",
    metadata,
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("turn_id", Text, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("revision", Text, nullable=False),  # of the schema that it knows
    Column("alive_until_ns", BigInteger, nullable=False),  # by the database's clock
)

requests = Table(
    "requests",
    metadata,
    # Digests only: a record tells neither who asked nor what was said, and so may outlive both.
    Column("key", LargeBinary, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("conversation_id", Text),
    Column("first_sequence", BigInteger),
    Column("conversation_count", BigInteger),
    Column("message_count", BigInteger),
    sqlite_with_rowid=False,
)

service_keys = Table(
    "service_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
