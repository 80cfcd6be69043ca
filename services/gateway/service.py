"""The gateway as something that runs: what it opens at start and closes at stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatbot.v1.chat_service_pb2 import DESCRIPTOR
from chatbot.v1.chat_service_pb2_grpc import add_ChatServiceServicer_to_server
from services.gateway.chat_calls import ChatCalls
from services.gateway.chat_turn import ChatTurns
from services.gateway.history import History
from services.gateway.identity import TrustedIdentity
from services.gateway.peers import Peers
from services.gateway.servicer import ChatServicer
from services.rpc.settings import variable_name

if TYPE_CHECKING:
    import grpc

    from services.gateway.settings import GatewaySettings


class GatewayService:
    """Runs `ChatService`. To be made on the event loop that it runs on."""

    full_names = (DESCRIPTOR.services_by_name["ChatService"].full_name,)
    port_variable = variable_name("gateway_grpc_port")

    def __init__(self, settings: GatewaySettings) -> None:
        self.port = settings.gateway_grpc_port
        self._peers = Peers(settings)
        self._history = History(self._peers.memory)
        self._turns = ChatTurns(self._peers, self._history, settings)
        self._identity = TrustedIdentity()
        self._calls = ChatCalls(self._peers, self._turns)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        add_ChatServiceServicer_to_server(ChatServicer(self._calls, self._identity), server)

    async def start(self) -> None:
        """Nothing has to be ready before calls are taken: a service that does not answer is told call by call."""

    async def stop(self) -> None:
        """Stores what replies are left to store, then closes the channels."""
        await self._history.finish_appends()
        await self._turns.finish()
        await self._peers.close()
