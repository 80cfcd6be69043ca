"""A reply as it is generated."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

import grpc

from client import conversions
from client.errors import InternalError, from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType
    from typing import Self

    from chatbot.v1 import chat_service_pb2
    from client.values import ReplyFinished, ReplyStarted


ReplyCall: TypeAlias = (
    "grpc.aio.UnaryStreamCall[chat_service_pb2.ChatRequest, chat_service_pb2.ChatResponse]"
    " | grpc.aio.UnaryStreamCall[chat_service_pb2.RegenerateRequest, chat_service_pb2.RegenerateResponse]"
)
"""A streaming call under way."""


class Reply:
    """A reply, iterated over once as the pieces of text that it consists of.

    Nothing is sent before the first piece is asked for. Leaving the iteration early cancels the call, so that the
    backend stops generating; as a context manager (`async with client.chat(…) as reply`) that happens at once,
    otherwise when Python closes the iterator.
    """

    def __init__(self, open_call: Callable[[], ReplyCall], address: str) -> None:
        self._open_call = open_call
        self._address = address
        self._call: ReplyCall | None = None
        self._begun = False
        self.started: ReplyStarted | None = None
        """Known from the first piece of text on, and whenever the iteration has ended without an error."""
        self.finished: ReplyFinished | None = None
        """Known once the iteration has ended by itself; None where the reply was cancelled."""
        self.cancelled = False
        """Whether `cancel` was called before the end."""
        self.seconds_to_first_text: float | None = None
        """From the call until the first piece of text was here; None before that."""
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self._texts)

    def cancel(self) -> None:
        """Stops the reply: the iteration ends without an error, and the backend stops generating."""
        if self.finished is None:
            self.cancelled = True
        if self._call is not None:
            self._call.cancel()

    async def result(self) -> ReplyFinished | None:
        """Waits for the end and returns it; None where the reply was cancelled.

        Raises:
            ChatbotError: As the iteration does.
        """
        async for _ in self:
            pass
        return self.finished

    def __aiter__(self) -> AsyncIterator[str]:
        if self._begun:
            raise RuntimeError("A reply can be iterated over once.")
        self._begun = True
        return self._receive()

    async def _receive(self) -> AsyncIterator[str]:
        call = None if self.cancelled else self._open_call()
        if call is None:
            return
        self._call = call
        began = time.perf_counter()
        try:
            async for event in call:
                match event.WhichOneof("event"):
                    case "started":
                        self.started = conversions.from_started(event.started)
                    case "delta":
                        if self.seconds_to_first_text is None:
                            self.seconds_to_first_text = time.perf_counter() - began
                        self._texts.append(event.delta.text)
                        yield event.delta.text
                    case "finished":
                        self.finished = conversions.from_finished(event.finished)
        except asyncio.CancelledError:
            # grpc raises it for a call that was cancelled here, too; then nobody cancelled our task.
            if not self.cancelled or _current_task_is_cancelled():
                raise
            return
        except grpc.aio.AioRpcError as failure:
            if self.cancelled and failure.code() is grpc.StatusCode.CANCELLED:
                return
            raise from_rpc_error(failure, self._address) from None
        finally:
            call.cancel()
        if self.finished is None and not self.cancelled:
            raise InternalError("The reply broke off before its end.", reason="TRUNCATED")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.finished is None:
            self.cancel()


def _current_task_is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
