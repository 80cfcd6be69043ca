"""What is read off replies."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from bench.engine.client import Reply
from bench.engine.measures import (
    arrival,
    chat,
    conversation,
    decode_observations,
    gap_observations,
    prefill_observations,
)
from bench.engine.workload import Prompts, Workload


def values(observations):
    return {seen.metric: seen.value for seen in observations}


def test_the_rate_counts_the_tokens_of_all_streams():
    seen = values(decode_observations("decode/2", seconds=2.0, tokens=[8, 6], firsts=[0.1, 0.3], asked=8))
    assert seen["tokens_per_second"] == 7
    assert seen["first_token_median"] == pytest.approx(200)
    assert seen["short_replies"] == 1


def test_no_first_tokens_are_told_where_none_were_seen():
    assert "first_token_median" not in values(
        decode_observations("decode/1", seconds=1.0, tokens=[1], firsts=[], asked=1)
    )


def test_a_prefill_tells_its_rate():
    assert values(prefill_observations(512, 0.5))["prompt_tokens_per_second"] == 1024


def test_gaps_are_told_apart_by_whether_the_prompt_was_there():
    # The prompt is there from 3.5 to 5.5: the gaps 3-4, 4-6 and no others touch that.
    seen = values(gap_observations([[0, 1, 2, 3, 4, 6, 7]], 3.5, 5.5))
    assert seen["gap_median_otherwise"] == 1000
    assert seen["gap_median_meanwhile"] == 1500
    assert seen["gap_p99_meanwhile"] == pytest.approx(1990)
    assert seen["p99_meanwhile_to_median_otherwise"] == pytest.approx(1.99)


def test_without_gaps_on_either_side_nothing_is_told():
    assert gap_observations([[0, 1, 2]], 0, 2) == []


class Scripted:
    """A client whose replies are made at once; notes what it was asked."""

    def __init__(self):
        self.asked = []
        self.keys = []
        self.drawn = []

    async def reply(self, prompt, max_tokens, *, on_arrival=None, cache_key="", drawn=None):
        self.asked.append((prompt, max_tokens))
        self.drawn.append(drawn)
        self.keys.append(cache_key)
        arrivals = []
        for moment in range(max_tokens):
            await asyncio.sleep(0)
            arrivals.append(float(len(self.asked) + moment))
            if on_arrival is not None:
                on_arrival()
        return Reply(float(len(self.asked)) - 1, tuple(arrivals), arrivals[-1], max_tokens, "yes", 3)

    async def close(self):
        pass


def prompts():
    return Prompts(lambda text: text.encode(), "seed")


async def test_each_turn_extends_the_prompt_of_the_one_before():
    client = Scripted()
    workload = Workload(turns=4, turn_text=5, turn_reply=2)
    await conversation(client, prompts(), workload)
    turns = [bytes(prompt) for prompt, _ in client.asked[:4]]
    assert all(after.startswith(before) for before, after in pairwise(turns))


async def test_all_turns_of_a_conversation_name_the_same_cache():
    client = Scripted()
    await conversation(client, prompts(), Workload(turns=3, turn_text=5, turn_reply=2))
    assert set(client.keys) == {"conversation"}


async def test_the_cold_prompt_differs_from_its_first_message_on():
    client = Scripted()
    await conversation(client, prompts(), Workload(turns=3, turn_text=5, turn_reply=2))
    last, cold = (bytes(prompt) for prompt, _ in client.asked[-2:])
    assert cold.replace(b"Again, ", b"", 1) == last
    assert cold.startswith(b"<|im_start|>user\nAgain, ")


async def test_a_chat_tells_how_fast_replies_come_once_begun_the_first_ones_and_the_later():
    client = Scripted()
    seen = values(await chat(client, prompts(), Workload(chats=2, chat_reply=5)))
    # A token a second after the first.
    assert seen == {"first_reply_tokens_per_second": 1, "later_replies_tokens_per_second": 1}
    assert client.keys == ["chat 0"] * 4 + ["chat 1"] * 4
    assert client.drawn == [Workload().chat_drawn] * 8
    turns = [bytes(prompt) for prompt, _ in client.asked]
    assert all(after.startswith(before) for before, after in pairwise(turns[:4]))
    assert not turns[4].startswith(turns[0])


async def test_the_long_prompt_arrives_once_all_others_run():
    client = Scripted()
    await arrival(client, prompts(), Workload(running=3, running_reply=40, arrival=50))
    assert [max_tokens for _, max_tokens in client.asked] == [40, 40, 40, 1]
    assert len(client.asked[-1][0]) == 50
