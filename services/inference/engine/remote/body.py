"""Requests of ours as the server's JSON.

Every sampling field is always sent, so that no default of the server's applies unseen; what OpenAI's API has no name
for goes by the names of vLLM, SGLang and llama.cpp, and is ignored by servers that do not know it. Stop strings are not
sent: servers cut them off without saying that they did, so the reply is watched here.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from services.inference.engine.protocol import ChatPrompt

if TYPE_CHECKING:
    from services.inference.engine.protocol import EngineRequest, Message, SamplingParams

_SEEDS = 2**31
"""Seeds are taken modulo this: the servers' ranges differ, and -1 or 2³²-1 mean none."""


def ask(model: str, context_tokens: int, request: EngineRequest) -> tuple[str, dict[str, Any]]:
    """Returns where a request goes to, and what is sent.

    Args:
        model: The server's name of the model.
        context_tokens: Of the model.
        request: What is asked for.
    """
    untokenized = request.untokenized.prompt if request.untokenized is not None else None
    body = {"model": model, "stream": True, **_sampling(request.sampling), **_extras(context_tokens, request)}
    top = request.sampling.logprobs
    if isinstance(untokenized, ChatPrompt):
        asked = {} if top is None else {"logprobs": True, "top_logprobs": top}
        return "/chat/completions", {**body, **asked, "messages": as_messages(untokenized.messages)}
    asked = {} if top is None else {"logprobs": top, "return_token_ids": True}
    prompt = list(request.prompt) if untokenized is None else untokenized.text
    return "/completions", {**body, **asked, "prompt": prompt}


def as_messages(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Returns a conversation as servers take it."""
    return [{"role": m.role, "content": m.content, **({"name": m.author} if m.author else {})} for m in messages]


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "repeat_penalty": sampling.repetition_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": sampling.seed % _SEEDS,
        "max_tokens": sampling.max_tokens,
    }


def _extras(context_tokens: int, request: EngineRequest) -> dict[str, Any]:
    extras: dict[str, Any] = {
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "timings_per_token": True,
        # llama.cpp's penalties else forget what is more than 64 tokens ago.
        "repeat_last_n": context_tokens,
    }
    if request.json_schema is not None:
        schema = json.loads(request.json_schema)
        extras["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
        # llama.cpp's `/completions` knows it by this name only.
        extras["json_schema"] = schema
    if request.cache_key:
        # What the key is made of is nobody else's business.
        extras["cache_salt"] = hashlib.sha256(request.cache_key.encode()).hexdigest()
    return extras
