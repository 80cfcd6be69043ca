"""One connection for callers of every kind: threads, coroutines, and threads that run coroutines."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from client.chat_client import ChatClient
from client.errors import ChatbotError
from client.langchain.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType
    from typing import Self

T = TypeVar("T")


class ChatbotConnection:
    """A connection to the backend that any number of histories and retrievers share, of any number of users.

    gRPC's asyncio channels belong to one event loop. Here that is a loop on a thread of the connection's own, so that
    callers need none, may have several, and may wait synchronously inside a running one.

    Close it when it is no longer needed, or use it in a `with` or an `async with` block. What is still open when the
    program ends is closed then.

    Args:
        address: `host:port` of the gateway, or any gRPC target.
        timeout: Longest time in seconds for each call; None: no limit.
    """

    def __init__(self, address: str, *, timeout: float | None = 60.0) -> None:
        self._client = ChatClient(address, timeout=timeout)
        self.sessions = Sessions()
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chatbot-connection", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._client.__aenter__(), self._loop).result()
        # A daemon thread does not keep a program from ending; gRPC would then be torn down under its loop.
        atexit.register(self.close)

    def call(self, user: str | None, work: Callable[[ChatClient], Coroutine[Any, Any, T]]) -> T:
        """Runs work on the connection's loop, and waits for it.

        Args:
            user: Who calls; None: the backend's single local user.
            work: Is given a client of that user, which must not be used anywhere else.

        Raises:
            ChatbotError: As `work` does, or the connection is closed.
        """
        future = self._begin(user, work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _closed_error() from None
        finally:
            # Does nothing unless the wait was broken off, by Ctrl-C for example.
            future.cancel()

    async def acall(self, user: str | None, work: Callable[[ChatClient], Coroutine[Any, Any, T]]) -> T:
        """Runs work as `call` does, without holding up the caller's loop. Cancelling it cancels the work."""
        future = self._begin(user, work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and (task is None or not task.cancelling()):
                raise _closed_error() from None
            raise

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled. Returns when its thread has ended."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _begin(
        self, user: str | None, work: Callable[[ChatClient], Coroutine[Any, Any, T]]
    ) -> concurrent.futures.Future[T]:
        # Not between the moment at which `close` has seen what is under way and the end of the loop.
        with self._lock:
            if self._closed:
                raise _closed_error()
            return asyncio.run_coroutine_threadsafe(work(self._client.as_user(user)), self._loop)

    async def _shut(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._client.close()


def _closed_error() -> ChatbotError:
    return ChatbotError("The connection is closed.", reason="CLOSED")
