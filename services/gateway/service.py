"""The gateway as something that runs: what it opens at start and closes at stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatbot.v1.chat_service_pb2 import DESCRIPTOR
from chatbot.v1.chat_service_pb2_grpc import add_ChatServiceServicer_to_server
from services.gateway.background import BackgroundWork
from services.gateway.busy import BusyConversations
from services.gateway.chat_calls import ChatCalls
from services.gateway.chat_turn import ChatTurns
from services.gateway.history import History
from services.gateway.http import AppParts, Callers, HttpServer, Metrics, build_app
from services.gateway.http.probes import probe_routes
from services.gateway.identity import ChosenIdentity
from services.gateway.openai_api import OpenAiApi, OpenAiParts
from services.gateway.peers import Peers
from services.gateway.servicer import ChatServicer
from services.gateway.settings import entries
from services.gateway.upkeep import Upkeep
from services.gateway.user_limits import UserLimits
from services.gateway.web import web_routes
from services.rpc.settings import variable_name

if TYPE_CHECKING:
    import grpc

    from services.gateway.settings import GatewaySettings


class GatewayService:
    """Runs `ChatService`, and the HTTP door beside it. To be made on the event loop that it runs on.

    Raises:
        StartupError: It could not tell who calls.
    """

    full_names = (DESCRIPTOR.services_by_name["ChatService"].full_name,)
    port_variable = variable_name("gateway_grpc_port")
    metrics_port_variable = variable_name("gateway_metrics_port")

    def __init__(self, settings: GatewaySettings) -> None:
        self.port = settings.gateway_grpc_port
        self.metrics_port = settings.gateway_metrics_port
        # First: it may refuse to start.
        self._identity = ChosenIdentity(settings)
        self._peers = Peers(settings)
        self._history = History(self._peers.memory)
        self._background = BackgroundWork()
        upkeep = Upkeep(self._peers, self._background, settings)
        self._busy = BusyConversations(self._peers.memory)
        turns = ChatTurns(self._peers, self._history, self._busy, upkeep, settings)
        limits = UserLimits(settings)
        self._calls = ChatCalls(self._peers, turns, limits)
        metrics = Metrics()
        callers = Callers(self._identity)
        self._openai = OpenAiApi(
            OpenAiParts(self._peers, self._history, self._busy, self._calls, callers, metrics, limits)
        )
        self.http = HttpServer(
            build_app(
                AppParts(
                    routes=[
                        *probe_routes(self._peers, metrics, callers),
                        *self._openai.routes,
                        *web_routes(self._calls, callers),
                    ],
                    hosts=frozenset(entries(settings.gateway_http_hosts)),
                    origins=entries(settings.gateway_http_origins),
                    metrics=metrics,
                )
            ),
            settings.bind_host,
            settings.gateway_http_port,
        )
        """The HTTP door; listens once `start` has returned."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        add_ChatServiceServicer_to_server(ChatServicer(self._calls, self._identity), server)

    async def start(self) -> None:
        """Fetches what tokens are checked with, and opens the HTTP door.

        A service that does not answer is told call by call.

        Raises:
            StartupError: Its port is taken or may not be used.
        """
        await self._identity.start()
        await self.http.start()

    async def drain(self, grace: float) -> None:
        """See `services.rpc.server.Drainable`."""
        await self.http.stop(grace)

    async def stop(self) -> None:
        """Drops what is done in the background, stores what replies are left to store, then closes the channels."""
        await self._background.stop()
        await self._openai.finish()
        await self._history.finish_appends()
        await self._busy.finish()
        await self._peers.close()
        await self._identity.close()
