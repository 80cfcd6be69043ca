"""LangChain's messages to the backend's, and back.

Kept: the text, the role (system, human, AI), the name of who spoke (`name`), and of an AI message its token counts and
why it ended. What a message has beside that is not part of what was said and is not kept: its `id`, reasoning,
`additional_kwargs`, the rest of `response_metadata`. What would have to be left out of what was said is refused:
images and other content that is not text, and tool calls and their results, unless the caller asks for these to be
left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

from client.errors import InvalidArgument
from client.values import FinishReason, NewMessage, Role, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from client.values import Message

_ROLES_BY_NAME = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
}
_REASONING_BLOCKS = {"reasoning", "thinking", "redacted_thinking"}
_TOOL_BLOCKS = {"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use", "function_call"}
_FINISH_REASONS = {"stop": FinishReason.EOS, "length": FinishReason.MAX_TOKENS}
_FINISH_REASON_NAMES = {FinishReason.EOS: "stop", FinishReason.STOP_STRING: "stop", FinishReason.MAX_TOKENS: "length"}


def to_new_messages(messages: Iterable[BaseMessage], *, leave_out_tools: bool) -> list[NewMessage]:
    """Returns what is to be appended, in the same order.

    Args:
        messages: LangChain's.
        leave_out_tools: Whether tool results, tool calls, and AI messages of nothing but tool calls are left out.

    Raises:
        InvalidArgument: A message cannot be kept. Says which one, by its place, and why.
    """
    kept: list[NewMessage] = []
    for place, message in enumerate(messages):
        is_result = isinstance(message, ToolMessage | FunctionMessage)
        has_calls = isinstance(message, AIMessage) and bool(message.tool_calls or message.invalid_tool_calls)
        if (is_result or has_calls) and not leave_out_tools:
            raise InvalidArgument(
                f"messages[{place}] is a tool's result or calls a tool, which the backend cannot keep; "
                f'tools="leave_out" keeps the rest.'
            )
        text = _text(message, place, _TOOL_BLOCKS if leave_out_tools else set())
        if is_result or (has_calls and not text):
            continue
        kept.append(_new_message(message, place, text))
    return kept


def from_message(message: Message) -> BaseMessage:
    """Returns a stored message as LangChain's; its `id` is the resource name."""
    match message.role:
        case Role.SYSTEM:
            return SystemMessage(message.content, id=message.name, name=message.author)
        case Role.USER:
            return HumanMessage(message.content, id=message.name, name=message.author)
        case Role.ASSISTANT:
            return AIMessage(
                message.content,
                id=message.name,
                name=message.author,
                usage_metadata=_usage_metadata(message.usage),
                response_metadata=_response_metadata(message.finish_reason),
            )
        case _:
            return ChatMessage(content=message.content, role="unknown", id=message.name, name=message.author)


def _new_message(message: BaseMessage, place: int, text: str) -> NewMessage:
    role = _role(message, place)
    usage, finish_reason = None, FinishReason.UNSPECIFIED
    if isinstance(message, AIMessage):
        usage = _usage(message.usage_metadata)
        finish_reason = _FINISH_REASONS.get(str(message.response_metadata.get("finish_reason")), finish_reason)
        if not text and finish_reason is FinishReason.UNSPECIFIED:
            finish_reason = FinishReason.EOS  # the model ended its turn before its first word
    return NewMessage(role, text, author=message.name or None, usage=usage, finish_reason=finish_reason)


def _role(message: BaseMessage, place: int) -> Role:
    match message:
        case SystemMessage():
            return Role.SYSTEM
        case HumanMessage():
            return Role.USER
        case AIMessage():
            return Role.ASSISTANT
        case ChatMessage() if message.role in _ROLES_BY_NAME:
            return _ROLES_BY_NAME[message.role]
        case _:
            raise InvalidArgument(
                f"messages[{place}] is a {type(message).__name__}; only what the system, a human or an AI says is kept."
            )


def _text(message: BaseMessage, place: int, left_out: set[str]) -> str:
    blocks = [message.content] if isinstance(message.content, str) else message.content
    texts: list[str] = []
    for block in blocks:
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif block.get("type") not in _REASONING_BLOCKS | left_out:
            raise InvalidArgument(f"messages[{place}] has content that is not text, which the backend cannot keep.")
    return "".join(texts)


def _usage(given: UsageMetadata | None) -> Usage | None:
    if given is None:
        return None
    cached = given.get("input_token_details", {}).get("cache_read", 0)
    return Usage(given["input_tokens"], cached, given["output_tokens"])


def _usage_metadata(usage: Usage | None) -> UsageMetadata | None:
    if usage is None:
        return None
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        input_token_details=InputTokenDetails(cache_read=usage.cached_tokens),
    )


def _response_metadata(reason: FinishReason) -> dict[str, str]:
    if reason is FinishReason.UNSPECIFIED:
        return {}
    return {"finish_reason": _FINISH_REASON_NAMES.get(reason, reason.name.lower())}
