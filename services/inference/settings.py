"""Settings of the inference service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from services.rpc.settings import CommonSettings, Port, Seconds

EMBEDDED_MODEL = "embedded"
"""Value of `model` that stands for the model that is installed with the package."""

Count = Annotated[int, Field(ge=1)]


class InferenceSettings(CommonSettings):
    """What the inference service can be told."""

    inference_grpc_port: Port = Field(50053, description="gRPC port of the inference service; 0: any free one.")
    inference_metrics_port: Port = Field(
        0, description="Port on which the inference service shows Prometheus what it counts; 0: none."
    )
    model: str = Field(
        EMBEDDED_MODEL,
        min_length=1,
        description="The model: a Hugging Face hub id such as `google/gemma-3-1b-it`, a local folder, a `.gguf` "
        "file, the address of an OpenAI-compatible server that has it (`http://host:8000/v1`), or `embedded` for the "
        "small English one that is installed along (SmolLM2-135M-Instruct). Gated models also need a token in "
        "`HF_TOKEN`.",
    )
    weights: Literal["auto", "bf16", "fp32", "int8", "int4", "bnb-int8", "bnb-nf4"] = Field(
        "auto",
        description="How weights are held. On a CPU, for models of the Llama, Qwen and Gemma families: `int8` or "
        "`int4` (blocks of 4 to 6 bits of a `.gguf` file as they are). "
        "Anywhere: `bf16`, `fp32`, or bitsandbytes' 8 and 4 bits, `bnb-int8` and `bnb-nf4`. `auto`: `bnb-int8` on a "
        "GPU; on a CPU `int4` where the model comes in it, else `int8`, else `bf16`.",
    )
    bnb_int8_threshold: Annotated[float, Field(ge=0)] = Field(
        6.0,
        description="With `bnb-int8`: inputs with a value beyond this are multiplied in 16 bits instead of 8. 0: none "
        "are, which is faster and loses more.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs: `cpu`, `cuda`, or `auto`: a GPU where there is one."
    )
    recording_seconds: Annotated[float, Field(ge=0)] = Field(
        30.0,
        description="On a GPU, for models of the Llama, Qwen and Gemma families not in bitsandbytes' weights: how long "
        "the start may take to record steps as CUDA graphs, the shapes that are met most first. Steps of other shapes "
        "run slower. 0: none are recorded.",
    )
    fuse_steps: bool = Field(
        False,
        description="Where `CHATBOT_RECORDING_SECONDS` applies: whether torch compiles the small operations of a step "
        "to a few. Needs a C compiler and Python's headers, and lengthens the start by tens of seconds.",
    )
    context_tokens: Annotated[int, Field(ge=16)] | None = Field(
        None,
        description="Most tokens that prompt and reply can have together, where that is to be fewer than the model "
        "can take. Default: what the model can take.",
    )
    max_tokens_limit: Count = Field(
        4096, description="Most tokens that one reply can have, whatever a request asks for."
    )
    max_running_requests: Count = Field(64, description="Most replies that are generated at the same time.")
    max_queued_requests: Annotated[int, Field(ge=0)] = Field(
        256, description="Most requests that wait for a place among the running ones; more are refused."
    )
    max_queued_requests_per_caller: Annotated[int, Field(ge=0)] = Field(
        64,
        description="Most of them that may be of one caller, for instance one user of the gateway. Callers take turns, "
        "so one that asks much keeps nobody else waiting for all of it.",
    )
    kv_cache_tokens: Count | None = Field(
        None,
        description="Most tokens of running requests, reply included, that there is memory for; a request that finds "
        "no room waits. Default: what all running requests can need together, within half of the memory that is free "
        "at start. Applies to models of the Llama, Qwen and Gemma families, but not in bitsandbytes' weights.",
    )
    prefix_cache_tokens: Annotated[int, Field(ge=0)] = Field(
        32768,
        description="Most tokens that the KV cache of ended replies takes room for, kept so that the next turn of a "
        "conversation need not compute its prompt again; 0 keeps none. Whole pages of memory count: some tens of "
        "tokens more than a conversation has.",
    )
    draft_tokens: Annotated[int, Field(ge=0, le=15)] = Field(
        7,
        description="Most tokens that a step guesses from what was said before, and checks beside the next one: each "
        "that proves right is a step less, and replies stay the same. On a CPU, in `int8` and `int4` weights, while no "
        "more replies than that are under way. 0: none are guessed.",
    )
    threads: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="CPU threads that the model computes with. Default: one per CPU that this process may use, "
        "a container's limit of CPU time counted, up to 16.",
    )
    remote_model: str | None = Field(
        None,
        min_length=1,
        description="Where `CHATBOT_MODEL` is a server's address: which of its models. Default: the only one it has.",
    )
    remote_api_key: SecretStr | None = Field(
        None, description="Where `CHATBOT_MODEL` is a server's address: the key that the server asks for, if it does."
    )
    remote_connect_seconds: Seconds = Field(
        5.0, description="Where `CHATBOT_MODEL` is a server's address: longest wait for a connection to it."
    )
    remote_silence_seconds: Seconds = Field(
        300.0,
        description="Where `CHATBOT_MODEL` is a server's address: longest wait for its next byte, a long prompt's "
        "reading included, until it is taken for lost.",
    )


def is_address(model: str) -> bool:
    """Tells whether a value of `model` is the address of a server."""
    return model.startswith(("http://", "https://"))
