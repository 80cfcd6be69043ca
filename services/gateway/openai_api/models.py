"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from services.rpc.errors import ModelNotFound

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from chatbot.v1 import inference_service_pb2 as inference_pb
    from services.gateway.http.callers import Callers
    from services.gateway.peers import InferencePeer


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


class Models:
    """The endpoints."""

    def __init__(self, inference: InferencePeer, callers: Callers) -> None:
        self._inference = inference
        self._callers = callers

    async def list(self, request: Request) -> Response:
        """Lists all models."""
        caller = await self._callers.of(request)
        model = await self._inference.model(caller.time_left())
        return JSONResponse(ModelList(object="list", data=[_described(model)]))

    async def get(self, request: Request) -> Response:
        """Describes one model.

        Raises:
            ModelNotFound: It is not served.
        """
        caller = await self._callers.of(request)
        model = await self._inference.model(caller.time_left())
        if request.path_params["model"] != model.id:
            raise ModelNotFound(f"Of this id there is no model; the one that is served is {model.id}.")
        return JSONResponse(_described(model))


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
