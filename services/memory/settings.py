"""Settings of the memory service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from services.rpc.settings import CommonSettings, Port, Seconds


class MemorySettings(CommonSettings):
    """What the memory service reads from the environment."""

    memory_grpc_port: Port = Field(50052, description="Port of the memory service.")
    memory_metrics_port: Port = Field(
        0, description="Port on which the memory service shows Prometheus what it counts; 0: none."
    )
    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL database (15 or later) that holds all messages, as "
        "`postgresql://USER:PASSWORD@HOST:5432/DATABASE`; several memory services may share it. "
        "Default: an SQLite file in the data folder, for one.",
    )
    database_connections: Annotated[int, Field(ge=2, le=1000)] = Field(
        12, description="Most connections that one memory service holds to PostgreSQL."
    )
    database_wait_seconds: Seconds = Field(
        60.0,
        description="At start: longest wait for PostgreSQL, and for memory services of an older version to end.",
    )
    retention_days: Annotated[float, Field(gt=0, le=36500, allow_inf_nan=False)] | None = Field(
        None,
        description="Conversations to which nothing was written for so many days are deleted, within the hour. "
        "Default: kept until somebody deletes them.",
    )
    embedder: Annotated[str, Field(min_length=1)] = Field(
        "embedded",
        description="Model that search finds by: `embedded` (all-MiniLM-L6-v2, English, comes with the program), "
        "`multilingual` (multilingual-e5-small, where it is installed: Linux on x86-64), any "
        "sentence-transformers hub id or folder, or the address of an OpenAI-compatible server that embeds "
        "(`http://host:8000/v1`). Changing it re-indexes in the background.",
    )
    embedder_query_prompt: str | None = Field(
        None,
        description="What the embedder is to read before what is looked for, such as `query: `. Default: what the "
        "model's own files say; for models of the e5 family by their name `query: `.",
    )
    embedder_message_prompt: str | None = Field(
        None,
        description="What it is to read before what is to be found, such as `passage: `. Default: as above; where only "
        "one of the two is set, the other is nothing.",
    )
    embedder_model: str | None = Field(
        None,
        min_length=1,
        description="Where `CHATBOT_EMBEDDER` is a server's address: which of its models. "
        "Default: the only one it has.",
    )
    embedder_api_key: SecretStr | None = Field(
        None,
        description="Where `CHATBOT_EMBEDDER` is a server's address: the key that the server asks for, if it does.",
    )
    embedder_timeout_seconds: Seconds = Field(
        60.0, description="Where `CHATBOT_EMBEDDER` is a server's address: longest wait for its answer."
    )
    embedder_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="Processor threads that the embedder may take for queries, and as many for messages."
    )
    embedding_batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(
        32, description="Most messages that are embedded together."
    )
    index_cache_mb: Annotated[int, Field(ge=1)] = Field(
        512, description="Most memory for search indexes, in MiB; the least recently searched users' are dropped."
    )
    search_wait_seconds: Seconds = Field(
        5.0,
        description="Longest time that a search waits for the user's newest messages to be embedded; "
        "never more than half of its caller's deadline.",
    )
    import_max_mb: Annotated[int, Field(ge=1)] = Field(
        256, description="Largest import, in MiB. It is held in memory until it is stored as a whole."
    )
