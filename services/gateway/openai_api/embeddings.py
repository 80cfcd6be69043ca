"""`POST /v1/embeddings`: by the model that the memory service searches with."""

from __future__ import annotations

import array
import base64
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from chatbot.v1 import memory_service_pb2 as memory_pb
from services.gateway.http.client_gone import while_connected
from services.gateway.openai_api.schema import RequestModel, read_body
from services.rpc.errors import invalid_field
from services.rpc.request_rules import check_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from services.gateway.http.callers import Callers
    from services.gateway.identity import Caller
    from services.gateway.peers import MemoryPeer
    from services.gateway.user_limits import UserLimits

_MOST_TEXTS = 2048
"""Of one request; OpenAI's limit too."""

_Text = Annotated[Any, WithJsonSchema({"type": "string", "minLength": 1})]
"""Read as anything, so that a number can be told what is wrong with it."""

_TEXTS_A_CALL = 64
"""So that searches, which wait for the same model, come in between."""


class EmbeddingRequest(RequestModel):
    """A request to embed texts."""

    input: str | Annotated[list[_Text], Field(min_length=1, max_length=_MOST_TEXTS)]
    """A text or several. Lists of tokens, which OpenAI takes too, are refused."""
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None

    @property
    def texts(self) -> list[str]:
        """The texts.

        Raises:
            InvalidArgument: They are none, or tokens.
        """
        if isinstance(self.input, str):
            check_text(self.input, "input")
            return [self.input]
        texts: list[str] = []
        for place, text in enumerate(self.input):
            if not isinstance(text, str):
                raise invalid_field(
                    f"input[{place}]", "must be a string: whose tokens numbers would be, this model cannot tell"
                )
            check_text(text, f"input[{place}]")
            texts.append(text)
        return texts


class EmbeddingObject(TypedDict):
    """One vector, of unit length: its numbers, or in base64 the bytes of little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """Tokens that the model has read; 0 where it is on a server that does not tell."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(TypedDict):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingObject]
    usage: EmbeddingUsage


class Embeddings:
    """The endpoint."""

    def __init__(self, memory: MemoryPeer, callers: Callers, limits: UserLimits) -> None:
        self._memory = memory
        self._limits = limits
        self._callers = callers

    async def create(self, request: Request) -> Response:
        """Embeds texts.

        Raises:
            ChatbotError: It cannot be done.
        """
        caller = await self._callers.of(request)
        asked = await read_body(request, EmbeddingRequest)
        texts = asked.texts
        self._limits.count_request(caller)
        parts = await while_connected(request, self._embed(texts, caller))
        vectors = [vector.values for part in parts for vector in part.embeddings]
        if asked.dimensions not in {None, len(vectors[0])}:
            raise invalid_field("dimensions", f"must be {len(vectors[0])}, the model's own; others are not supported")
        tokens = sum(part.token_count for part in parts) if all(part.HasField("token_count") for part in parts) else 0
        encode = _base64 if asked.encoding_format == "base64" else list
        return JSONResponse(
            EmbeddingList(
                object="list",
                model=parts[0].model,
                data=[
                    EmbeddingObject(object="embedding", index=place, embedding=encode(vector))
                    for place, vector in enumerate(vectors)
                ],
                usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
            )
        )

    async def _embed(self, texts: list[str], caller: Caller) -> list[memory_pb.EmbedTextsResponse]:
        return [
            await self._memory.call(
                self._memory.stub.EmbedTexts,
                memory_pb.EmbedTextsRequest(texts=texts[start : start + _TEXTS_A_CALL]),
                caller.time_left(),
            )
            for start in range(0, len(texts), _TEXTS_A_CALL)
        ]


def _base64(vector: Sequence[float]) -> str:
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")
