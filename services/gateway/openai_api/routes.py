"""Where each part of the API answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.routing import Route

from services.gateway.openai_api.chat_completions import ChatCompletions
from services.gateway.openai_api.completions import Completions
from services.gateway.openai_api.embeddings import Embeddings
from services.gateway.openai_api.generation import Generation
from services.gateway.openai_api.models import Models
from services.gateway.openai_api.openapi import read_document
from services.gateway.openai_api.replies import ReplyTasks
from services.gateway.openai_api.response_by_id import ResponseById
from services.gateway.openai_api.responses import Responses
from services.gateway.openai_api.stored_responses import StoredResponses

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from services.gateway.busy import BusyConversations
    from services.gateway.chat_calls import ChatCalls
    from services.gateway.history import History
    from services.gateway.http.callers import Callers
    from services.gateway.http.metrics import Metrics
    from services.gateway.peers import Peers
    from services.gateway.user_limits import UserLimits

_PREFIXES = ("/v1", "")
"""The API is at `/v1`, as OpenAI's is; llama.cpp's clients, and base addresses given without it, find it too."""


@dataclass(frozen=True, slots=True)
class OpenAiParts:
    """What the API stands on."""

    peers: Peers
    history: History
    busy: BusyConversations
    calls: ChatCalls
    callers: Callers
    metrics: Metrics
    limits: UserLimits


class OpenAiApi:
    """The whole API."""

    def __init__(self, parts: OpenAiParts) -> None:
        self._tasks = ReplyTasks()
        peers, callers = parts.peers, parts.callers
        generation = Generation(peers.inference, parts.metrics, parts.limits)
        models = Models(peers.inference, callers, parts.limits)
        chat = ChatCompletions(generation, parts.calls, callers, parts.metrics, self._tasks)
        completions = Completions(generation, callers, self._tasks)
        embeddings = Embeddings(peers.memory, callers, parts.limits)
        stored = StoredResponses(peers.memory, parts.history, parts.busy)
        responses = Responses(generation, stored, callers, self._tasks)
        one = ResponseById(stored, peers.inference, callers, parts.limits)
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
                    Route(f"{prefix}/responses/{{response_id}}", one.get, methods=["GET"]),
                    Route(f"{prefix}/responses/{{response_id}}", one.delete, methods=["DELETE"]),
                    Route(f"{prefix}/responses/{{response_id}}/input_items", one.input_items, methods=["GET"]),
                )
            ),
        ]
        """For `AppParts`."""

    async def finish(self) -> None:
        """Waits until replies that were cut, since the server has stopped, are stored as far as they got."""
        await self._tasks.finish()
