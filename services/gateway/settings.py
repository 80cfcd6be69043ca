"""Settings of the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.rpc.settings import CommonSettings, Port, Seconds


class GatewaySettings(CommonSettings):
    """What the gateway reads from the environment at start."""

    gateway_http_port: Port = Field(8080, description="Reserved for the gateway's HTTP face.")
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
    recall_min_similarity: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.35,
        description="Cosine similarity to what is said that one of the best hits must have for any to be recalled.",
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
