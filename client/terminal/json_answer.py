"""An answer as lines of JSON on standard output; their schema is docs/clients/ask.schema.json."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from client.export_lines import json_line

if TYPE_CHECKING:
    from client.errors import ChatbotError
    from client.reply import Reply
    from client.values import GenerationTimings, ReplyFinished, ReplyStarted, SearchHit


class JsonAnswer:
    """Prints one answer, an event a line: `started`, `delta`…, and one of `finished`, `cancelled` and `error`.

    Args:
        request_id: Of the turn: asked again with it, the backend replays what it has.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def notice(self, text: str) -> None:
        """Tells something that does not keep the reply from coming."""
        _write("notice", text=text)

    async def reply(self, reply: Reply) -> None:
        """Prints the reply as it comes. Raises what the reply does."""
        told = False
        async for text in reply:
            told = told or self._started(reply.started)
            _write("delta", text=text)
        if not told:
            self._started(reply.started)

    def stopped(self, reply: Reply) -> None:
        """Tells that the reply was stopped here; the backend keeps what there is of it."""
        conversation = reply.started.conversation if reply.started is not None else None
        _write("cancelled", conversation=conversation, request_id=self._request_id, text=reply.text)

    def finished(self, reply: Reply) -> None:
        """Tells the whole reply and what it cost."""
        if reply.finished is not None:
            _write("finished", **_finished(reply.finished, reply.seconds_to_first_text))

    def error(self, error: ChatbotError, status: int) -> None:
        """Tells what went wrong."""
        _write(
            "error",
            reason=error.reason,
            code=error.code.name,
            message=error.message,
            retry_after_seconds=error.retry_after,
            metadata=error.metadata,
            violations=[{"field": v.field, "description": v.description} for v in error.violations],
            request_id=self._request_id,
            exit_status=status,
        )

    def refused(self, message: str, status: int) -> None:
        """Tells that nothing was asked of the backend, and why."""
        _write(
            "error",
            reason="WRONG_USE",
            code="INVALID_ARGUMENT",
            message=message,
            retry_after_seconds=None,
            metadata={},
            violations=[],
            request_id=self._request_id,
            exit_status=status,
        )

    def _started(self, started: ReplyStarted | None) -> bool:
        if started is None:
            return False
        _write(
            "started",
            conversation=started.conversation,
            message=started.message.name,
            request_id=self._request_id,
            model=started.model,
            prompt_tokens=started.prompt_tokens,
            cached_tokens=started.cached_tokens,
            recalled=[_recalled(hit) for hit in started.recalled],
            replayed=started.replayed,
        )
        return True


def _recalled(hit: SearchHit) -> dict[str, object]:
    message = hit.message
    return {
        "message": message.name,
        "role": message.role.name.lower(),
        "author": message.author,
        "time": message.create_time.isoformat() if message.create_time is not None else None,
        "text": message.content,
        "similarity": hit.similarity,
        "score": hit.score,
    }


def _finished(finished: ReplyFinished, first_text: float | None) -> dict[str, object]:
    message, usage = finished.message, finished.message.usage
    return {
        "conversation": message.conversation,
        "message": message.name,
        "text": message.content,
        "finish_reason": message.finish_reason.name.lower(),
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
        }
        if usage is not None
        else None,
        "timings": _timings(finished.timings),
        "first_text_seconds": first_text,
    }


def _timings(timings: GenerationTimings | None) -> dict[str, float] | None:
    if timings is None:
        return None
    return {
        "queue_seconds": timings.queue_seconds,
        "prefill_seconds": timings.prefill_seconds,
        "decode_seconds": timings.decode_seconds,
        "tokens_per_second": timings.tokens_per_second,
    }


def _write(event: str, **fields: object) -> None:
    sys.stdout.write(json_line({"type": event, **fields}))
    sys.stdout.flush()
