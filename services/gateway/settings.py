"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
    gateway_metrics_port: Port = Field(
        0, description="Port on which the gateway shows Prometheus what it counts; 0: none."
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
        24, description="Most older messages recalled into a prompt; 0 turns recall off."
    )
    recall_max_tokens: Annotated[int, Field(ge=1)] = Field(
        512, description="Most tokens that recalled messages may take."
    )
    recall_min_similarity: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description="Cosine similarity to what is said that one of the best hits must have for any to be recalled. The "
        "others are recalled where they have a word of it, or are at most a fifth farther away. Default: what the "
        "memory service knows of its embedder, 0.35, and 0.82 for the e5 family.",
    )
    recall_min_word_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="Share of the words of what is said, rare ones counting more, that will do in its place; "
        "any share does where the embedder does not know the language.",
    )
    summaries: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether the model, in the background, sums up what no longer fits a conversation's prompt, and "
        "writes titles of new conversations. `auto`: where it is known to have 0.9 billion parameters or more; smaller "
        "ones do it badly.",
    )
    reply_reserve_tokens: Annotated[int, Field(ge=1)] = Field(
        1024, description="Tokens of the context kept free for the reply; at most half of the context is."
    )
    memory_timeout_seconds: Seconds = Field(10.0, description="Longest wait for one answer of the memory service.")
    inference_timeout_seconds: Seconds = Field(
        30.0, description="Longest wait for one answer of the inference service other than a reply."
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of the API keys that `python run.py keys` gives out. Default: `api-keys.json` in the data "
        "folder; while there is none, none is asked for on loopback.",
    )
    jwt_jwks: str = Field(
        "", description="Public keys of whoever issues tokens (JWKS): an `https://` address or a file."
    )
    jwt_issuer: str = Field("", description="With `CHATBOT_JWT_JWKS`: what a token's `iss` has to be.")
    jwt_audience: str = Field("", description="With `CHATBOT_JWT_JWKS`: what a token's `aud` has to be or hold.")
    jwt_user_claim: Annotated[str, Field(min_length=1)] = Field(
        "sub", description="Claim of a token that is the user's id; one that users cannot choose themselves."
    )
    jwt_role_claim: str = Field(
        "",
        description="Claim of a token, or path to it such as `realm_access.roles`, that is or lists the user's roles. "
        "Default: no token makes an admin.",
    )
    jwt_admin_role: Annotated[str, Field(min_length=1)] = Field(
        "admin", description="The role in `CHATBOT_JWT_ROLE_CLAIM` that makes an admin."
    )
    trust_user_id_header: bool | None = Field(
        None,
        description="Without keys and tokens: whether `x-user-id-bin` and `X-User-Id` are believed. `true` is for "
        "behind a proxy that has checked who calls and names them in every call; who is not named is refused then. "
        "Default: on loopback they are believed where they are given.",
    )
    open_to_anyone: bool = Field(
        False,
        description="Lets a gateway without keys and tokens listen on other addresses than loopback; all who reach it "
        "are one user. For containers whose port is published on loopback only.",
    )
    max_streams_per_user: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Most replies and exports that one user has streaming at the same time. Default: no limit."
    )
    max_requests_per_minute_per_user: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Most calls of one user a minute, of every kind together. Default: no limit."
    )
    max_tokens_per_minute_per_user: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Most tokens of one user a minute that the model computes: those of prompts that no cache held, "
        "and those of replies. Default: no limit.",
    )

    @property
    def listen_host(self) -> str:
        """The address that this service listens on: the one where it is asked who calls."""
        return self.bind_host

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
