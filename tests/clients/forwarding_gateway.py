"""A door between a client and the gateway that notes every call, and can lose an answer on its way back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

import grpc


@dataclass(frozen=True)
class Noted:
    """A call as it arrived."""

    method: str
    request: bytes
    metadata: dict[str, str | bytes]
    seconds_left: float | None


class ForwardingGateway(grpc.GenericRpcHandler):
    """Forwards calls of every method as they are, but without their metadata."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.calls: list[Noted] = []
        self.answers_to_lose = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method

        async def forward(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
        ) -> AsyncGenerator[bytes, None]:
            (request,) = [request async for request in requests]
            self.calls.append(
                Noted(method, request, dict(context.invocation_metadata() or ()), context.time_remaining())
            )
            lost = self.answers_to_lose > 0
            self.answers_to_lose -= lost
            call = self._channel.unary_stream(method)(request)
            try:
                async for answer in call:
                    if not lost:
                        yield answer
            except grpc.aio.AioRpcError as failure:
                await context.abort(failure.code(), failure.details() or "", tuple(failure.trailing_metadata()))
            finally:
                call.cancel()
            if lost:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")

        return grpc.stream_stream_rpc_method_handler(forward)
