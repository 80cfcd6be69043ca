"""A client of gRPC `Generate`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from bench.engine.client import Reply, RequestFailed
from chatbot.v1 import inference_service_pb2 as pb
from chatbot.v1 import inference_service_pb2_grpc
from services.rpc.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.engine.client import Drawn


class GrpcClient:
    """Asks our inference service. To be made on the event loop that uses it."""

    def __init__(self, address: str) -> None:
        self._channel = open_channel(address)
        self._stub = inference_service_pb2_grpc.InferenceServiceStub(self._channel)

    async def reply(
        self,
        prompt: tuple[int, ...],
        max_tokens: int,
        *,
        on_arrival: Callable[[], None] | None = None,
        cache_key: str = "",
        drawn: Drawn | None = None,
    ) -> Reply:
        """As `Client.reply`."""
        sampling = pb.SamplingConfig(temperature=0, max_tokens=max_tokens)
        if drawn is not None:
            sampling.temperature, sampling.top_p = drawn.temperature, drawn.top_p
        request = pb.GenerateRequest(
            token_ids=pb.TokenIds(ids=prompt),
            sampling=sampling,
            cache_key=cache_key,
        )
        arrivals: list[float] = []
        text: list[str] = []
        tokens = cached = 0
        sent = time.perf_counter()
        try:
            async for response in self._stub.Generate(request):
                kind = response.WhichOneof("event")
                if kind == "delta":
                    arrivals.append(time.perf_counter())
                    text.append(response.delta.text)
                    if on_arrival is not None:
                        on_arrival()
                elif kind == "finished":
                    tokens = response.finished.usage.completion_tokens
                    cached = response.finished.usage.cached_tokens
        except grpc.aio.AioRpcError as failure:
            raise RequestFailed(f"{failure.code().name}: {failure.details()}") from None
        return Reply(sent, tuple(arrivals), time.perf_counter(), tokens, "".join(text), cached)

    async def close(self) -> None:
        """As `Client.close`."""
        await self._channel.close()
