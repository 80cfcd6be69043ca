"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from starlette.responses import JSONResponse
from starlette.routing import Route
from typing_extensions import TypedDict

from services.rpc.errors import NotFound

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from chatbot.v1 import inference_service_pb2 as inference_pb
    from services.gateway.http.callers import Callers
    from services.gateway.peers import Peers


class ModelNotFound(NotFound):
    """No model of this id is served."""

    reason = "MODEL_NOT_FOUND"


class ModelObject(TypedDict):
    """One model. What OpenAI's has not (`max_model_len` and on) is as vLLM and llama.cpp name it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    description: str
    languages: list[str]


class ModelList(TypedDict):
    """All models: the one that is loaded."""

    object: Literal["list"]
    data: list[ModelObject]


def model_routes(peers: Peers, callers: Callers) -> list[BaseRoute]:
    """Returns the routes that describe models."""

    async def list_models(request: Request) -> Response:
        caller = await callers.of(request)
        model = await peers.inference.model(caller.time_left())
        return JSONResponse(ModelList(object="list", data=[_described(model)]))

    async def get_model(request: Request) -> Response:
        caller = await callers.of(request)
        model = await peers.inference.model(caller.time_left())
        if request.path_params["model"] != model.id:
            raise ModelNotFound(f"Of this id there is no model; the one that is served is {model.id}.")
        return JSONResponse(_described(model))

    return [
        Route("/v1/models", list_models, methods=["GET"]),
        Route("/v1/models/{model:path}", get_model, methods=["GET"]),
    ]


def _described(model: inference_pb.Model) -> ModelObject:
    return ModelObject(
        id=model.id,
        object="model",
        # When a model was made is not known here.
        created=0,
        owned_by="chatbot",
        max_model_len=model.context_tokens,
        description=model.description,
        languages=list(model.languages),
    )
