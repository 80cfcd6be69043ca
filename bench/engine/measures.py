"""What is measured on a contender that is served: each measure asks, waits and reads numbers off the replies."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.result import Observation
from bench.summary import median, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.engine.client import Client, Reply
    from bench.engine.workload import Prompts, Workload

_CONVERSATION = "conversation"
"""Its cache key."""

_WARM_UP_GAPS = 16
"""Messages of each running reply before a long prompt arrives."""


async def decode(
    client: Client, measure: str, prompts: Sequence[tuple[int, ...]], max_tokens: int
) -> list[Observation]:
    """Generates replies that all arrive at once."""
    replies = await asyncio.gather(*(client.reply(prompt, max_tokens) for prompt in prompts))
    return decode_observations(
        measure,
        seconds=max(reply.ended for reply in replies) - min(reply.sent for reply in replies),
        tokens=[reply.tokens for reply in replies],
        firsts=[reply.first_token_seconds for reply in replies],
        asked=max_tokens,
    )


def decode_observations(
    measure: str, *, seconds: float, tokens: Sequence[int], firsts: Sequence[float], asked: int
) -> list[Observation]:
    """Returns what simultaneous replies tell.

    Args:
        measure: What they were generated for.
        seconds: From the first request to the end of the last reply.
        tokens: Generated, a reply.
        firsts: Seconds to the first token, a reply; empty where it cannot be seen.
        asked: Tokens asked for, a reply.
    """
    seen = [Observation(measure, "tokens_per_second", "tokens/s", sum(tokens) / seconds)]
    if firsts:
        seen.append(Observation(measure, "first_token_median", "ms", 1e3 * median(firsts)))
        seen.append(Observation(measure, "first_token_p95", "ms", 1e3 * percentile(firsts, 0.95)))
    # A model that ends its replies early does other work than was asked for: that has to be seen.
    seen.append(Observation(measure, "short_replies", "replies", sum(count < asked for count in tokens)))
    return seen


async def chat(client: Client, prompts: Prompts, workload: Workload) -> list[Observation]:
    """Holds some conversations, drawn as chats are: how fast replies come once they have begun."""
    first: list[Reply] = []
    later: list[Reply] = []
    for number in range(workload.chats):
        exchanges: list[tuple[str, str]] = []
        for text in prompts.questions():
            prompt = prompts.conversation(exchanges, text)
            reply = await client.reply(
                prompt, workload.chat_reply, cache_key=f"chat {number}", drawn=workload.chat_drawn
            )
            (later if exchanges else first).append(reply)
            exchanges.append((text, reply.text))
    return [
        Observation("chat", f"{which}_tokens_per_second", "tokens/s", _following_tokens_per_second(replies))
        for which, replies in (("first_reply", first), ("later_replies", later))
    ]


def _following_tokens_per_second(replies: Sequence[Reply]) -> float:
    """Returns how fast tokens come after the first one."""
    seconds = sum(reply.ended - reply.sent - reply.first_token_seconds for reply in replies)
    return sum(reply.tokens - 1 for reply in replies) / seconds


async def prefill(client: Client, prompt: tuple[int, ...]) -> list[Observation]:
    """Waits for the first token of one prompt, alone."""
    reply = await client.reply(prompt, 1)
    return prefill_observations(len(prompt), reply.first_token_seconds)


def prefill_observations(length: int, seconds: float) -> list[Observation]:
    """Returns what the first token of one prompt tells."""
    measure = f"prefill/{length}"
    return [
        Observation(measure, "first_token", "ms", 1e3 * seconds),
        Observation(measure, "prompt_tokens_per_second", "tokens/s", length / seconds),
    ]


async def conversation(client: Client, prompts: Prompts, workload: Workload) -> list[Observation]:
    """Holds one conversation, then asks its last turn's prompt anew with another beginning."""
    exchanges: list[tuple[str, str]] = []
    seen: dict[int, Reply] = {}
    prompt: tuple[int, ...] = ()
    for turn in range(1, workload.turns + 1):
        text = prompts.text(workload.turn_text)
        prompt = prompts.conversation(exchanges, text)
        seen[turn] = await client.reply(prompt, workload.turn_reply, cache_key=_CONVERSATION)
        exchanges.append((text, seen[turn].text))
    (opening, answer), *others = exchanges[:-1]
    same_but_new = prompts.conversation([(f"Again, {opening}", answer), *others], exchanges[-1][0])
    cold = (await client.reply(same_but_new, 1, cache_key=_CONVERSATION)).first_token_seconds
    last = seen[workload.turns].first_token_seconds
    second = seen[2].first_token_seconds
    return [
        Observation("conversation", "turn_2_first_token", "ms", 1e3 * second),
        Observation("conversation", f"turn_{workload.turns}_first_token", "ms", 1e3 * last),
        Observation("conversation", "cold_first_token", "ms", 1e3 * cold),
        Observation("conversation", "last_turn_to_turn_2", "×", last / second),
        Observation("conversation", "cold_to_last_turn", "×", cold / last),
        Observation("conversation", "last_prompt", "tokens", len(prompt)),
        Observation("conversation", "last_prompt_cached", "tokens", seen[workload.turns].cached_tokens),
    ]


async def arrival(client: Client, prompts: Prompts, workload: Workload) -> list[Observation]:
    """Lets replies run, and a long prompt arrive in their midst."""
    under_way = _Countdown(workload.running)
    running = [
        asyncio.create_task(client.reply(prompts.story(), workload.running_reply, on_arrival=under_way.member()))
        for _ in range(workload.running)
    ]
    try:
        await under_way.wait()
        newcomer = await client.reply(prompts.long(workload.arrival), 1)
        replies = await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
    until = newcomer.sent + newcomer.first_token_seconds
    return gap_observations([reply.arrivals for reply in replies], newcomer.sent, until)


def gap_observations(arrivals: Sequence[Sequence[float]], since: float, until: float) -> list[Observation]:
    """Returns how the gaps between messages of running replies fare while a prompt arrives.

    Args:
        arrivals: Moments of each reply's messages.
        since: When the prompt was sent.
        until: When its first token came.
    """
    gaps = [pair for moments in arrivals for pair in pairwise(moments)]
    during = [after - before for before, after in gaps if after > since and before < until]
    quiet = [after - before for before, after in gaps if after <= since or before >= until]
    if not during or not quiet:
        return []
    usual, worst = median(quiet), percentile(during, 0.99)
    return [
        Observation("arrival", "gap_median_otherwise", "ms", 1e3 * usual),
        Observation("arrival", "gap_median_meanwhile", "ms", 1e3 * median(during)),
        Observation("arrival", "gap_p99_meanwhile", "ms", 1e3 * worst),
        Observation("arrival", "p99_meanwhile_to_median_otherwise", "×", worst / usual),
        Observation("arrival", "first_token_of_the_arrival", "ms", 1e3 * (until - since)),
    ]


class _Countdown:
    """Is over when every member has been called often enough."""

    def __init__(self, members: int) -> None:
        self._left = members
        self._over = asyncio.Event()

    def member(self) -> _Member:
        """Returns what one member calls."""
        return _Member(self)

    def one_is_ready(self) -> None:
        """Counts one member as ready."""
        self._left -= 1
        if self._left == 0:
            self._over.set()

    async def wait(self) -> None:
        """Waits until it is over."""
        await self._over.wait()


class _Member:
    """Counts one reply's messages."""

    def __init__(self, countdown: _Countdown) -> None:
        self._countdown = countdown
        self._calls = 0

    def __call__(self) -> None:
        self._calls += 1
        if self._calls == _WARM_UP_GAPS:
            self._countdown.one_is_ready()
