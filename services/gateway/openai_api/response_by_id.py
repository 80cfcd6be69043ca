"""`GET` and `DELETE /v1/responses/{response_id}`, and `GET /v1/responses/{response_id}/input_items`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from chatbot.v1.chat_message_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ChatMessage
from services.gateway.openai_api.response_objects import (
    OutputMessage,
    OutputText,
    kept_response,
    output_id,
    output_text,
)
from services.gateway.openai_api.schema import RequestModel, read_query
from services.gateway.openai_api.stored_response import response_id_of
from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from services.gateway.http.callers import Callers
    from services.gateway.identity import Caller
    from services.gateway.openai_api.stored_responses import StoredResponses
    from services.gateway.peers import InferencePeer
    from services.gateway.user_limits import UserLimits


class RetrievalQuery(RequestModel):
    """How a response is answered."""

    stream: bool = False


class InputItemsQuery(RequestModel):
    """Which of a response's input items are listed."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[str, Field(min_length=1)] | None = None


class InputText(TypedDict):
    """Text of an input item."""

    type: Literal["input_text"]
    text: str


class InputMessage(TypedDict):
    """A message that a response was asked for with."""

    id: str
    type: Literal["message"]
    role: Literal["user", "system"]
    status: Literal["completed"]
    content: list[InputText]


class InputItemList(TypedDict):
    """Input items of a response."""

    object: Literal["list"]
    data: list[InputMessage | OutputMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(TypedDict):
    """A response that is gone."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ResponseById:
    """The endpoints."""

    def __init__(self, stored: StoredResponses, inference: InferencePeer, callers: Callers, limits: UserLimits) -> None:
        self._stored = stored
        self._inference = inference
        self._callers = callers
        self._limits = limits

    async def get(self, request: Request) -> Response:
        """Answers a response that was kept.

        Raises:
            ResponseNotFound: It was not, or is another user's.
        """
        caller, response_id = await self._asked(request)
        if read_query(request, RetrievalQuery).stream:
            raise invalid_field("stream", "must be false: a response that was kept is answered whole")
        found = await self._stored.find(caller, response_id)
        # Which model wrote it is not kept.
        model = await self._inference.model(caller.time_left())
        return JSONResponse(kept_response(found, model.id))

    async def delete(self, request: Request) -> Response:
        """Deletes a response for good.

        Raises:
            ResponseNotFound: See `get`.
        """
        caller, response_id = await self._asked(request)
        await self._stored.delete(caller, response_id)
        return JSONResponse(DeletedResponse(id=response_id, object="response", deleted=True))

    async def input_items(self, request: Request) -> Response:
        """Lists what a response was made from: all that was said before it, its own input last.

        Raises:
            ResponseNotFound: See `get`.
        """
        caller, response_id = await self._asked(request)
        asked = read_query(request, InputItemsQuery)
        found = await self._stored.find(caller, response_id)
        items = [_item(message) for message in found.past[:-1]]
        if asked.order == "desc":
            items.reverse()
        start = 0
        if asked.after is not None:
            places = [place for place, item in enumerate(items) if item["id"] == asked.after]
            if not places:
                raise invalid_field("after", "must be the id of one of the items")
            start = places[0] + 1
        page = items[start : start + asked.limit]
        return JSONResponse(
            InputItemList(
                object="list",
                data=page,
                first_id=page[0]["id"] if page else None,
                last_id=page[-1]["id"] if page else None,
                has_more=start + len(page) < len(items),
            )
        )

    async def _asked(self, request: Request) -> tuple[Caller, str]:
        caller = await self._callers.of(request)
        self._limits.count_request(caller)
        return caller, request.path_params["response_id"]


def _item(message: ChatMessage) -> InputMessage | OutputMessage:
    # One that a response put out has the id that it was put out with.
    own_id = output_id(response_id_of(message.name)) + "_input"
    if message.role == ROLE_ASSISTANT:
        text: OutputText = output_text(message.content, [])
        item_id = output_id(response_id_of(message.reply_to)) if message.reply_to else own_id
        return OutputMessage(id=item_id, type="message", role="assistant", status="completed", content=[text])
    return InputMessage(
        id=own_id,
        type="message",
        role="system" if message.role == ROLE_SYSTEM else "user",
        status="completed",
        content=[InputText(type="input_text", text=message.content)],
    )
