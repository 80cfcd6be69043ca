"""What replies cost and how fast they were: `/stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.reply import Reply
    from client.terminal.messages import Words


class Statistics:
    """Counts the replies of one session."""

    def __init__(self) -> None:
        self._last: Reply | None = None
        self._replies = 0
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._completion_tokens = 0

    def count(self, reply: Reply) -> None:
        """Takes in a reply that has ended. One that was stopped or replayed was not paid for here in full."""
        if reply.finished is None:
            return
        self._last = reply
        usage = reply.finished.message.usage
        if usage is not None and reply.finished.timings is not None:
            self._replies += 1
            self._prompt_tokens += usage.prompt_tokens
            self._cached_tokens += usage.cached_tokens
            self._completion_tokens += usage.completion_tokens

    def lines(self, words: Words) -> list[str]:
        """Returns what there is to tell, for a person."""
        if self._last is None or self._last.finished is None:
            return [words("no_stats")]
        lines = []
        usage, timings = self._last.finished.message.usage, self._last.finished.timings
        tokens = usage.completion_tokens if usage is not None else 0
        if timings is None:
            lines.append(words("stats_replayed", tokens=tokens))
        else:
            queue, prefill = timings.queue_seconds, timings.prefill_seconds
            lines += [
                words("stats_reply", tokens=tokens, rate=timings.tokens_per_second),
                words("stats_first", seconds=queue + prefill, queue=queue, prefill=prefill),
            ]
        if self._last.seconds_to_first_text is not None:
            lines.append(words("stats_first_here", seconds=self._last.seconds_to_first_text))
        if usage is not None:
            prompt, cached = usage.prompt_tokens, usage.cached_tokens
            lines.append(words("stats_prompt", prompt=prompt, cached=cached, share=_share(cached, prompt)))
        if self._replies > 1:
            lines.append(
                words(
                    "stats_session",
                    replies=self._replies,
                    tokens=self._completion_tokens,
                    prompt=self._prompt_tokens,
                    share=_share(self._cached_tokens, self._prompt_tokens),
                )
            )
        return lines


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
