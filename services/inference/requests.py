"""Requests of the protocol to the engine's values, every field checked."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from chatbot.v1 import chat_message_pb2, inference_service_pb2
from services.inference.engine.protocol import ChatPrompt, Message, Prompt, Role, SamplingParams, TextPrompt
from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from services.inference.engine.protocol import ModelInfo

MAX_PROMPT_CHARACTERS = 4_000_000
"""More text than the longest contexts hold is refused before it is tokenized."""

_MAX_TEXTS = 1000

MAX_SCHEMA_CHARACTERS = 100_000
"""What takes longer to compile than a tenth of a second is larger."""

SCHEMA_FIELD = "response_format.json_schema"
"""Where a request has its schema."""

_SEED_BITS = 32

_ROLES: dict[chat_message_pb2.Role, Role] = {
    chat_message_pb2.ROLE_SYSTEM: "system",
    chat_message_pb2.ROLE_USER: "user",
    chat_message_pb2.ROLE_ASSISTANT: "assistant",
}


def resolve_sampling(
    config: inference_service_pb2.SamplingConfig, model: ModelInfo, prompt_tokens: int, max_tokens_limit: int
) -> SamplingParams:
    """Returns what applies to a request: its own values, and the model's where it sets none.

    `max_tokens` is what was asked for, at most what the context has room for and at most the limit.
    """
    default = model.sampling
    room = model.context_tokens - prompt_tokens
    return SamplingParams(
        temperature=config.temperature if config.HasField("temperature") else default.temperature,
        top_p=config.top_p if config.HasField("top_p") else default.top_p,
        top_k=config.top_k if config.HasField("top_k") else default.top_k,
        min_p=config.min_p if config.HasField("min_p") else default.min_p,
        repetition_penalty=(
            config.repetition_penalty if config.HasField("repetition_penalty") else default.repetition_penalty
        ),
        frequency_penalty=(
            config.frequency_penalty if config.HasField("frequency_penalty") else default.frequency_penalty
        ),
        presence_penalty=(config.presence_penalty if config.HasField("presence_penalty") else default.presence_penalty),
        seed=config.seed if config.HasField("seed") else secrets.randbits(_SEED_BITS),
        max_tokens=min(config.max_tokens if config.HasField("max_tokens") else room, room, max_tokens_limit),
        stop=tuple(config.stop),
        logprobs=config.logprobs if config.HasField("logprobs") else None,
    )


def generate_prompt(request: inference_service_pb2.GenerateRequest, model: ModelInfo) -> Prompt | tuple[int, ...]:
    """Returns the prompt of a request, as tokens where it came as such.

    Raises:
        InvalidArgument: It is missing, empty or malformed.
    """
    kind = request.WhichOneof("input")
    if kind == "token_ids":
        return _token_ids(request.token_ids, model)
    if kind == "messages":
        return _chat(request.messages)
    if kind == "text":
        return _text(request.text)
    raise invalid_field("input", "must be set: messages, text or token_ids")


def json_schema(form: inference_service_pb2.ResponseFormat) -> str | None:
    """Returns the text of the JSON Schema that the reply must satisfy; None where it is free text.

    Raises:
        InvalidArgument: It is no JSON object, or too large.
    """
    if form.WhichOneof("format") is None:
        return None
    schema = form.json_schema
    if len(schema) > MAX_SCHEMA_CHARACTERS:
        raise invalid_field(SCHEMA_FIELD, f"must have at most {MAX_SCHEMA_CHARACTERS} characters")
    try:
        read = json.loads(schema)
    except (ValueError, RecursionError):
        raise invalid_field(SCHEMA_FIELD, "must be JSON") from None
    if not isinstance(read, dict):
        raise invalid_field(SCHEMA_FIELD, "must be a JSON object")
    return schema


def count_prompt(request: inference_service_pb2.CountTokensRequest) -> Prompt:
    """Returns the prompt of a request to count.

    Raises:
        InvalidArgument: It is missing, empty or malformed.
    """
    kind = request.WhichOneof("input")
    if kind == "messages":
        return _chat(request.messages)
    if kind == "text":
        return _text(request.text)
    raise invalid_field("input", "must be set: messages or text")


def count_texts(request: inference_service_pb2.Texts) -> list[str]:
    """Returns the texts of a request to count many.

    Raises:
        InvalidArgument: There are none, too many, or one of them is malformed.
    """
    if not 1 <= len(request.texts) <= _MAX_TEXTS:
        raise invalid_field("texts.texts", f"must be 1 to {_MAX_TEXTS}")
    if sum(map(len, request.texts)) > MAX_PROMPT_CHARACTERS:
        raise invalid_field("texts.texts", f"must have at most {MAX_PROMPT_CHARACTERS} characters in all")
    for place, text in enumerate(request.texts):
        _check_text(f"texts.texts[{place}]", text)
    return list(request.texts)


def _chat(chat: inference_service_pb2.ChatMessages) -> ChatPrompt:
    if not chat.messages:
        raise invalid_field("messages.messages", "must have at least one message")
    if sum(len(m.content) for m in chat.messages) > MAX_PROMPT_CHARACTERS:
        raise invalid_field("messages.messages", f"must have at most {MAX_PROMPT_CHARACTERS} characters in all")
    return ChatPrompt(tuple(_message(place, message) for place, message in enumerate(chat.messages)))


def _message(place: int, message: chat_message_pb2.ChatMessage) -> Message:
    path = f"messages.messages[{place}]"
    role = _ROLES.get(message.role)
    if role is None:
        raise invalid_field(f"{path}.role", "must be ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT")
    if role == "system" and place > 0:
        raise invalid_field(f"{path}.role", "must not be ROLE_SYSTEM: only the first message can be")
    _check_text(f"{path}.content", message.content)
    if "\0" in message.author:
        raise invalid_field(f"{path}.author", "must not have NUL in it")
    return Message(role, message.content, message.author or None)


def _text(text: str) -> TextPrompt:
    _check_text("text", text)
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise invalid_field("text", f"must have at most {MAX_PROMPT_CHARACTERS} characters")
    return TextPrompt(text)


def _check_text(path: str, text: str) -> None:
    if not text:
        raise invalid_field(path, "must not be empty")
    if "\0" in text:
        raise invalid_field(path, "must not have NUL in it")


def _token_ids(tokens: inference_service_pb2.TokenIds, model: ModelInfo) -> tuple[int, ...]:
    if not tokens.ids:
        raise invalid_field("token_ids.ids", "must have at least one token")
    ids, size = tuple(tokens.ids), model.vocabulary_size
    if not 0 <= min(ids) <= max(ids) < size:
        place = next(place for place, token in enumerate(ids) if not 0 <= token < size)
        raise invalid_field(f"token_ids.ids[{place}]", f"must be 0 to {size - 1}")
    return ids
