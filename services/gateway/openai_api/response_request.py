"""`POST /v1/responses`: what may be asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.gateway.openai_api.messages import ContentPart, Message
from services.gateway.openai_api.response_format import FormatFields
from services.gateway.openai_api.sampling import SamplingFields, TokenCount
from services.gateway.openai_api.schema import RequestModel
from services.rpc.errors import invalid_field

_LOGPROBS = "message.output_text.logprobs"


class InputItem(RequestModel):
    """A message, or (refused) another kind of item. What a response put out can be put in again."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ContentPart] | None = None


class TextFields(RequestModel):
    """What form the text must have."""

    format: FormatFields | None = None


class ResponseRequest(SamplingFields):
    """A request for a response to messages, and to those of an earlier response before them."""

    input: Annotated[str, Field(min_length=1)] | Annotated[list[InputItem], Field(min_length=1)]
    model: str | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    max_output_tokens: TokenCount | None = None
    text: TextFields | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = None
    prompt_cache_key: str | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None

    @property
    def messages(self) -> list[Message]:
        """The input, as messages.

        Raises:
            InvalidArgument: There is something else in it.
        """
        if isinstance(self.input, str):
            return [Message(role="user", content=self.input)]
        messages = []
        for place, item in enumerate(self.input):
            if item.type not in {None, "message"}:
                raise invalid_field(f"input[{place}].type", "must be message: nothing else is supported")
            if item.role is None:
                raise invalid_field(f"input[{place}].role", "must be system, developer, user or assistant")
            messages.append(Message(role=item.role, content=item.content))
        return messages

    @property
    def alternatives(self) -> int | None:
        """How many alternatives are told with each token; None: nothing is told of tokens."""
        if _LOGPROBS in (self.include or ()) or self.top_logprobs is not None:
            return self.top_logprobs or 0
        return None

    @property
    def is_stored(self) -> bool:
        """Whether a later request may go on from the response. OpenAI's default, too."""
        return self.store is not False

    def check(self) -> None:
        """Checks what no field says by itself.

        Raises:
            InvalidArgument: Something is asked for that cannot be done.
        """
        if self.tools and self.tool_choice != "none":
            raise invalid_field("tools", "is not supported; leave it out, or set tool_choice to none")
        for name in ("background", "prompt"):
            if getattr(self, name):
                raise invalid_field(name, "is not supported")
        if self.conversation is not None:
            raise invalid_field("conversation", "is not supported here; a chat completion can be a conversation's turn")
        if self.choices > 1:
            raise invalid_field("n", "is not supported here")
        if self.instructions is not None and "\0" in self.instructions:
            raise invalid_field("instructions", "must not have NUL in it")
