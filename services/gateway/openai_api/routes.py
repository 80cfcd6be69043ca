"""Where each part of the API answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from services.gateway.openai_api.chat_completions import ChatCompletions
from services.gateway.openai_api.completions import Completions
from services.gateway.openai_api.embeddings import Embeddings
from services.gateway.openai_api.generation import Generation
from services.gateway.openai_api.models import Models
from services.gateway.openai_api.openapi import read_document
from services.gateway.openai_api.replies import ReplyTasks
from services.gateway.openai_api.responses import Responses
from services.gateway.openai_api.stored_responses import StoredResponses

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from services.gateway.chat_calls import ChatCalls
    from services.gateway.history import History
    from services.gateway.http.callers import Callers
    from services.gateway.http.metrics import Metrics
    from services.gateway.peers import Peers

_PREFIXES = ("/v1", "")
"""The API is at `/v1`, as OpenAI's is; llama.cpp's clients, and base addresses given without it, find it too."""


class OpenAiApi:
    """The whole API."""

    def __init__(self, peers: Peers, history: History, calls: ChatCalls, callers: Callers, metrics: Metrics) -> None:
        self._tasks = ReplyTasks()
        generation = Generation(peers.inference, metrics)
        models = Models(peers.inference, callers)
        chat = ChatCompletions(generation, calls, callers, metrics, self._tasks)
        completions = Completions(generation, callers, self._tasks)
        embeddings = Embeddings(peers.memory, callers)
        responses = Responses(generation, StoredResponses(peers.memory, history), callers, self._tasks)
        self.routes: list[BaseRoute] = [
            Route("/openapi.json", read_document, methods=["GET"]),
            *(
                route
                for prefix in _PREFIXES
                for route in (
                    Route(f"{prefix}/models", models.list, methods=["GET"]),
                    Route(f"{prefix}/models/{{model:path}}", models.get, methods=["GET"]),
                    Route(f"{prefix}/chat/completions", chat.create, methods=["POST"]),
                    Route(f"{prefix}/completions", completions.create, methods=["POST"]),
                    Route(f"{prefix}/embeddings", embeddings.create, methods=["POST"]),
                    Route(f"{prefix}/responses", responses.create, methods=["POST"]),
                )
            ),
        ]
        """For `AppParts`."""

    async def finish(self) -> None:
        """Waits until replies that were cut, since the server has stopped, are stored as far as they got."""
        await self._tasks.finish()
