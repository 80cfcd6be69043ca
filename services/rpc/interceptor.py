"""The outermost server interceptor: every call ends with a status of ours, with one log line, and counted.

A domain error becomes its row of the table in `errors`; any other exception becomes INTERNAL without its text;
bytes that are no valid request become INVALID_ARGUMENT. A cancelled call always ends in an abort: grpc gives no
way to tell whether the caller went away (then the abort goes nowhere) or the server is stopping, and a handler
that lets `CancelledError` out sends no status at all and would leave its client waiting.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from services.rpc import errors, metrics
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

_UNLOGGED_PREFIXES = ("/grpc.health.", "/grpc.reflection.")


@dataclass(frozen=True, slots=True)
class _Undecodable:
    """Stands for a request whose bytes are no valid message."""


class _CallsUnderWay:
    """Counts calls; `none` is set while there are none."""

    def __init__(self) -> None:
        self.none = asyncio.Event()
        self.none.set()
        self._count = 0

    def begin(self) -> None:
        self._count += 1
        self.none.clear()

    def end(self) -> None:
        self._count -= 1
        if self._count == 0:
            self.none.set()


async def _abort(context: Context, error: errors.ChatbotError) -> None:
    status = errors.to_status(error)
    await context.abort(
        error.status,
        error.message,
        trailing_metadata=((errors.STATUS_DETAILS_KEY, status.SerializeToString()),),
    )


def _as_error(failure: BaseException, method: str) -> errors.ChatbotError:
    """Returns what the caller is told of an exception."""
    if isinstance(failure, errors.ChatbotError):
        return failure
    if isinstance(failure, asyncio.CancelledError):
        return errors.ShuttingDown("The service stopped before the call ended.", retry_after=1.0)
    _log.error("unexpected exception", method=method, failure=where(failure))
    return errors.InternalError.unexpected()


def _checked(request: object) -> None:
    if isinstance(request, _Undecodable):
        raise errors.InvalidArgument("The request's bytes are no valid message: text must be valid UTF-8.")


async def _checked_stream(requests: AsyncIterator[object]) -> AsyncIterator[object]:
    async for request in requests:
        _checked(request)
        yield request


class OutcomeInterceptor(grpc.aio.ServerInterceptor):
    """Maps exceptions to statuses, and logs and counts each call's method, status and duration."""

    def __init__(self) -> None:
        self._calls = _CallsUnderWay()
        # Each method's handler and what stands around it: asked for with every call, and mostly the same.
        self._wrapped: dict[str, tuple[Any, grpc.RpcMethodHandler[Any, Any]]] = {}

    async def wait_until_idle(self) -> None:
        """Returns when no call of the service is under way. Health and reflection do not count."""
        await self._calls.none.wait()

    async def intercept_service(  # noqa: D102 - documented by grpc
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_UNLOGGED_PREFIXES):
            return handler
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = handler, self._around(method, handler)
        return known[1]

    def _around(self, method: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        decode = handler.request_deserializer

        def deserialize(data: bytes) -> object:
            try:
                return decode(data) if decode else data
            except DecodeError:
                return _Undecodable()

        build: Any
        if handler.response_streaming:
            build = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else (grpc.unary_stream_rpc_method_handler)
            )
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            behaviour: Any = _streaming(method, inner, handler.request_streaming, self._calls)
        else:
            build = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else (grpc.unary_unary_rpc_method_handler)
            )
            inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
            behaviour = _unary(method, inner, handler.request_streaming, self._calls)
        built: grpc.RpcMethodHandler[Any, Any] = build(behaviour, deserialize, handler.response_serializer)
        return built


def _unary(method: str, inner: Any, streams_in: bool, calls: _CallsUnderWay) -> Any:
    measures = metrics.MethodMeasures(method)

    async def behave(request: Any, context: Context) -> object:
        began = time.monotonic()
        outcome = "OK"
        calls.begin()
        measures.began()
        try:
            if streams_in:
                return await inner(_checked_stream(request), context)
            _checked(request)
            return await inner(request, context)
        except (Exception, asyncio.CancelledError) as failure:
            error = _as_error(failure, method)
            outcome = _outcome(failure, error)
            await _abort(context, error)
            raise AssertionError("abort raises") from None
        finally:
            calls.end()
            _tell(method, measures, outcome, began)

    return behave


def _streaming(method: str, inner: Any, streams_in: bool, calls: _CallsUnderWay) -> Any:
    measures = metrics.MethodMeasures(method)

    async def behave(request: Any, context: Context) -> AsyncIterator[object]:
        began = time.monotonic()
        outcome = "CANCELLED"  # what it is where neither the end nor an exception is reached
        responses: Any = None
        calls.begin()
        measures.began()
        try:
            if not streams_in:
                _checked(request)
            responses = inner(_checked_stream(request) if streams_in else request, context)
            async for response in responses:
                yield response
            outcome = "OK"
        except (Exception, asyncio.CancelledError) as failure:
            error = _as_error(failure, method)
            outcome = _outcome(failure, error)
            await _abort(context, error)
        finally:
            # A cancel during a blocked write arrives as GeneratorExit: the handler's own cleanup runs now,
            # not when the garbage collector finds it.
            try:
                if responses is not None:
                    await responses.aclose()
            finally:
                calls.end()
                _tell(method, measures, outcome, began)

    return behave


def _outcome(failure: BaseException, error: errors.ChatbotError) -> str:
    return "CANCELLED" if isinstance(failure, asyncio.CancelledError) else error.reason


def _tell(method: str, measures: metrics.MethodMeasures, outcome: str, began: float) -> None:
    seconds = time.monotonic() - began
    measures.ended(outcome, seconds)
    _log.info("call", method=method, outcome=outcome, seconds=round(seconds, 4))
