"""`GET /openapi.json`: the API as an OpenAPI 3.1 document, made of the types that requests are read with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter
from starlette.responses import JSONResponse

from services.gateway.http.failures import ErrorBody
from services.gateway.openai_api.chat_objects import ChatChunk, ChatCompletion
from services.gateway.openai_api.chat_request import ChatCompletionRequest
from services.gateway.openai_api.completions import Completion, CompletionRequest
from services.gateway.openai_api.embeddings import EmbeddingList, EmbeddingRequest
from services.gateway.openai_api.models import ModelList, ModelObject
from services.gateway.openai_api.response_by_id import (
    DeletedResponse,
    InputItemList,
    InputItemsQuery,
    RetrievalQuery,
)
from services.gateway.openai_api.response_objects import ResponseObject
from services.gateway.openai_api.response_request import ResponseRequest

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from services.gateway.openai_api.schema import RequestModel

_REF = "#/components/schemas/{model}"
_AS_A_NAME = str.maketrans("/", "_", "{}")
_DESCRIPTION = (
    "OpenAI's API over a model of your own. Unknown fields are ignored; a known one that asks for what is not "
    "supported is refused by name."
)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    path: str
    method: Literal["get", "post", "delete"]
    summary: str
    answer: Any
    body: Any = None
    event: Any = None
    """What each event of a stream carries; None: it is not streamed, or its events are of many kinds."""
    streams: bool = False
    parameters: tuple[tuple[str, str, str], ...] = ()
    """Where, name and description of each that is a string."""
    query: type[RequestModel] | None = None
    """The query's parameters."""


_RESPONSE_ID = (("path", "response_id", "Its id."),)

_ENDPOINTS = (
    _Endpoint("/v1/models", "get", "Lists the model that is served", ModelList),
    _Endpoint(
        "/v1/models/{model}", "get", "Describes a model", ModelObject, parameters=(("path", "model", "Its id."),)
    ),
    _Endpoint(
        "/v1/chat/completions",
        "post",
        "Replies to a conversation",
        ChatCompletion,
        ChatCompletionRequest,
        ChatChunk,
        streams=True,
        parameters=(
            ("header", "X-Conversation", "The conversation of this backend whose turn this is, or `new`."),
            ("header", "Idempotency-Key", "With a conversation: a repeated key replays the first outcome."),
        ),
    ),
    _Endpoint(
        "/v1/completions", "post", "Goes on from a text", Completion, CompletionRequest, Completion, streams=True
    ),
    _Endpoint("/v1/embeddings", "post", "Embeds texts", EmbeddingList, EmbeddingRequest),
    _Endpoint(
        "/v1/responses", "post", "Responds to messages, and remembers", ResponseObject, ResponseRequest, streams=True
    ),
    _Endpoint(
        "/v1/responses/{response_id}",
        "get",
        "Answers a response that was kept",
        ResponseObject,
        parameters=_RESPONSE_ID,
        query=RetrievalQuery,
    ),
    _Endpoint("/v1/responses/{response_id}", "delete", "Deletes a response", DeletedResponse, parameters=_RESPONSE_ID),
    _Endpoint(
        "/v1/responses/{response_id}/input_items",
        "get",
        "Lists what a response was made from",
        InputItemList,
        parameters=_RESPONSE_ID,
        query=InputItemsQuery,
    ),
)


def document() -> dict[str, Any]:
    """Returns the document."""
    kinds = {kind for endpoint in _ENDPOINTS for kind in (endpoint.answer, endpoint.event) if kind is not None}
    bodies = {endpoint.body for endpoint in _ENDPOINTS if endpoint.body is not None}
    inputs: list[tuple[Any, Literal["validation", "serialization"], TypeAdapter[Any]]] = [
        *((kind, "validation", TypeAdapter(kind)) for kind in sorted(bodies, key=_name)),
        *((kind, "serialization", TypeAdapter(kind)) for kind in sorted(kinds | {ErrorBody}, key=_name)),
    ]
    schemas, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REF)
    by_kind = {kind: schema for (kind, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in _ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Chatbot", "version": "1", "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


async def read_document(request: Request) -> Response:
    """Answers `GET /openapi.json`."""
    del request
    return JSONResponse(document())


def _operation(endpoint: _Endpoint, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schemas[endpoint.answer]}}
    if endpoint.streams:
        told = "An object in JSON; its `type` says what it is."
        if endpoint.event is not None:
            told = f"A `{_name(endpoint.event)}` in JSON; at last `[DONE]`."
        content["text/event-stream"] = {
            "schema": {
                "type": "object",
                "description": "One event of the stream that answers where `stream` is true.",
                "properties": {"event": {"type": "string"}, "data": {"type": "string", "description": told}},
                "required": ["data"],
            }
        }
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method}{endpoint.path.removeprefix('/v1')}".translate(_AS_A_NAME),
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": "Done.", "content": content},
            "default": {
                "description": "It cannot be done; `Retry-After` says when trying again makes sense.",
                "content": {"application/json": {"schema": schemas[ErrorBody]}},
            },
        },
    }
    parameters = [
        {
            "in": place,
            "name": name,
            "description": description,
            "required": place == "path",
            "schema": {"type": "string", "minLength": 1},
        }
        for place, name, description in endpoint.parameters
    ]
    if endpoint.query is not None:
        asked = endpoint.query.model_json_schema()["properties"]
        parameters += [{"in": "query", "name": name, "schema": schema} for name, schema in asked.items()]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[endpoint.body]}},
        }
    return operation


def _name(kind: Any) -> str:
    return str(kind.__name__)
