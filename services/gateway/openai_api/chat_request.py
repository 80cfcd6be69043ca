"""`POST /v1/chat/completions`: what may be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from services.gateway.openai_api.messages import Message
from services.gateway.openai_api.response_format import FormatFields, StructuredOutputs, response_format
from services.gateway.openai_api.sampling import SamplingFields, TokenCount
from services.gateway.openai_api.schema import RequestModel
from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from chatbot.v1.inference_service_pb2 import ResponseFormat


class StreamOptions(RequestModel):
    """How a reply is streamed."""

    include_usage: bool | None = None


class ChatCompletionRequest(SamplingFields):
    """A request for replies to a conversation."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: str | None = None
    """Any: the one that is served answers, and is named in the answer."""
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: FormatFields | None = None
    json_schema: dict[str, Any] | None = None
    """llama.cpp's: a schema alone."""
    structured_outputs: StructuredOutputs | None = None
    """vLLM's."""
    continue_final_message: bool | None = None
    timings_per_token: bool | None = None
    """llama.cpp's; with it the end of one reply tells its `timings`."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prompt_cache_key: str | None = None
    conversation: str | None = None
    """Not OpenAI's: the conversation of this backend whose turn this is, or `new`."""
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None
    audio: Any = None
    web_search_options: Any = None

    @property
    def token_limit(self) -> int | None:
        """Most tokens of a reply.

        Raises:
            InvalidArgument: The two fields that say it contradict each other.
        """
        if None not in {self.max_tokens, self.max_completion_tokens} and self.max_tokens != self.max_completion_tokens:
            raise invalid_field("max_tokens", "must not differ from max_completion_tokens, which is its newer name")
        return self.max_completion_tokens or self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many alternatives are told with each token; None: nothing is told of tokens.

        Raises:
            InvalidArgument: They are asked for, but not the tokens.
        """
        if self.top_logprobs is not None and not self.logprobs:
            raise invalid_field("top_logprobs", "needs logprobs to be true")
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def form(self) -> ResponseFormat | None:
        """What form the reply must have; None: free text.

        Raises:
            InvalidArgument: A schema is missing, or the form is not supported.
        """
        named = self.structured_outputs.fields if self.structured_outputs is not None else None
        if self.json_schema is not None:
            named = FormatFields(type="json_object", schema=self.json_schema)
        return response_format(self.response_format or named)

    def check(self) -> None:
        """Checks what no field says by itself.

        Raises:
            InvalidArgument: Something is asked for that cannot be done.
        """
        check_stream_options(self.stream, self.stream_options)
        if self.tools and self.tool_choice != "none":
            raise invalid_field("tools", "is not supported; leave it out, or set tool_choice to none")
        for name in ("functions", "audio", "web_search_options", "continue_final_message"):
            if getattr(self, name):
                raise invalid_field(name, "is not supported")
        if set(self.modalities or ()) - {"text"}:
            raise invalid_field("modalities", "must be text alone")


def check_stream_options(stream: bool | None, options: StreamOptions | None) -> None:
    """Checks that options of a stream come with a stream.

    Raises:
        InvalidArgument: They do not.
    """
    if options is not None and not stream:
        raise invalid_field("stream_options", "needs stream to be true")
