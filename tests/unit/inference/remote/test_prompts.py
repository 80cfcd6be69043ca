"""Numbers of tokens, where a server lends its tokenizer and where it does not."""

from __future__ import annotations

import pytest

from services.inference.engine.protocol import ChatPrompt, Message, TextPrompt, UntokenizedPrompt
from services.inference.engine.remote.prompts import EstimatedPrompts, TokenizedPrompts


class WordTokenizer:
    """A token a word; `[` role `]` before each message, and 3 for the opening of the reply."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    async def encode_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        return (0,) * (3 + sum(3 + len(m.content.split()) for m in messages))

    async def encode_text(self, text: str) -> tuple[int, ...]:
        return (0,) * (1 + len(text.split()))

    async def count_content(self, text: str) -> int:
        self.counted.append(text)
        return len(text.split())


TALK = ChatPrompt((Message("user", "a b c"), Message("assistant", "d"), Message("user", "e f")))


async def test_shares_are_each_messages_own_tokens_and_its_part_of_the_template():
    prompts = TokenizedPrompts(WordTokenizer())
    count = await prompts.count(TALK, "")
    assert (count.total, count.per_message) == (18, (6, 4, 5))
    assert (await prompts.count(TextPrompt("a b"), "")).total == 3
    assert await prompts.count_texts(["a b", "c"], "") == [3, 2]


async def test_a_message_is_asked_for_once_for_a_key():
    prompts = TokenizedPrompts(tokenizer := WordTokenizer())
    await prompts.count(TALK, "ann")
    await prompts.count(ChatPrompt((*TALK.messages, Message("assistant", "g"))), "ann")
    assert sorted(tokenizer.counted) == ["a b c", "d", "e f", "g", "x"]
    await prompts.count(TALK, "bob")
    assert sorted(tokenizer.counted) == ["a b c", "a b c", "d", "d", "e f", "e f", "g", "x"]


async def test_an_estimate_carries_its_prompt():
    prompts = EstimatedPrompts()
    count = await prompts.count(TALK, "")
    assert await prompts.tokenize(TALK) == UntokenizedPrompt(TALK, count.total)
    assert count.total > sum(count.per_message)


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog, and nobody minds; 1234567890 times.",
        "def f(x: int) -> dict[str, int]:\n    return {'a': x ** 2, 'b': -x}\n",
        "Name, Ort\nAnna, 10115 Berlin\nPaul, 20095 Hamburg\n",
    ],
)
async def test_an_estimate_is_rather_too_high(text: str, loaded):
    real = len(loaded.tokenizer.encode_text(text))
    estimated = (await EstimatedPrompts().count(TextPrompt(text), "")).total
    assert real <= estimated <= 2.5 * real


@pytest.mark.parametrize(("text", "tokens"), [("abc def", 3), ("a1, b2", 4), ("мир", 3), ("日本", 3), ("", 0)])
async def test_scripts_are_estimated_each_by_itself(text: str, tokens: int):
    assert (await EstimatedPrompts().count(TextPrompt(text), "")).total == 1 + tokens
