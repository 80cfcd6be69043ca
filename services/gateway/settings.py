"""Settings of the gateway."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from services.rpc.settings import CommonSettings, Port, Seconds


class GatewaySettings(CommonSettings):
    """What the gateway reads from the environment at start."""

    gateway_http_port: Port = Field(
        8080, description="Port of the gateway for HTTP: the OpenAI-compatible API and the page in the browser."
    )
    gateway_http_hosts: str = Field(
        "",
        description="Names that HTTP requests may be addressed to, separated by commas: `chat.example, gateway`. "
        "`localhost` and plain addresses always may.",
    )
    gateway_http_origins: str = Field(
        "",
        description="Origins whose pages may call the gateway from a browser, separated by commas: "
        "`https://chat.example`. Default: its own pages alone.",
    )
    memory_address: str = Field(
        "",
        description="Where the memory service is: `host:port` or a gRPC target such as `dns:///memory:50052`. "
        "Default: this machine, `CHATBOT_MEMORY_GRPC_PORT`.",
    )
    inference_address: str = Field(
        "",
        description="Where the inference service is; with `dns:///` and several replicas each conversation stays "
        "with one of them. Default: this machine, `CHATBOT_INFERENCE_GRPC_PORT`.",
    )
    system_prompt: str = Field(
        "", description="Instructions for conversations that have none of their own. Default: the model's own."
    )
    recall_limit: Annotated[int, Field(ge=0, le=50)] = Field(
        4, description="Most older messages recalled into a prompt; 0 turns recall off."
    )
    recall_max_tokens: Annotated[int, Field(ge=1)] = Field(
        512, description="Most tokens that recalled messages may take."
    )
    recall_min_similarity: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.35, description="Lowest cosine similarity at which a message is recalled."
    )
    recall_min_word_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="Share of the words of what is said, rare ones counting more, from which on a message that has "
        "them is recalled whatever its similarity.",
    )
    reply_reserve_tokens: Annotated[int, Field(ge=1)] = Field(
        1024, description="Tokens of the context kept free for the reply; at most half of the context is."
    )
    memory_timeout_seconds: Seconds = Field(10.0, description="Longest wait for one answer of the memory service.")
    inference_timeout_seconds: Seconds = Field(
        30.0, description="Longest wait for one answer of the inference service other than a reply."
    )

    @field_validator("gateway_http_hosts")
    @classmethod
    def _are_names(cls, value: str) -> str:
        if any(set(name) & set("/:*") for name in entries(value)):
            raise ValueError("must be names without port or scheme, such as chat.example, separated by commas")
        return value

    @field_validator("gateway_http_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in entries(value):
            scheme, found, place = origin.partition("://")
            if scheme not in {"http", "https"} or not found or not place or "/" in place:
                raise ValueError("must be origins such as https://chat.example, separated by commas")
        return value


def entries(listed: str) -> tuple[str, ...]:
    """Returns what a setting lists, in lower case."""
    return tuple(entry.strip().lower() for entry in listed.split(",") if entry.strip())
