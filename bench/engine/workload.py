"""What is asked of every contender: the sizes, and the prompts as tokens."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import machine
from bench.engine.client import Drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Encode = Callable[[str], Sequence[int]]

_VOCABULARY = """
river garden lantern harbour winter market letter mountain teacher window forest engine bridge
island captain morning shadow village library painter ocean violin kitchen traveller silver thunder
orchard compass meadow castle feather journey stone candle desert farmer mirror sailor tower valley
"""

_QUESTIONS = (
    "What is the capital of France, and what is it known for?",
    "Write a short story about a lighthouse keeper.",
    "Explain how a binary search works and give Python code.",
    "Give me a recipe for pancakes.",
    "Why is the sky blue?",
    "List ten ideas for a birthday party.",
    "Summarize the plot of Romeo and Juliet.",
    "Write a Python class for a stack with push and pop.",
    "How do I politely decline a meeting?",
    "What are the differences between TCP and UDP?",
    "Help me plan a three-day trip to Rome.",
    "How does a refrigerator work?",
)
_AS_CHAT = Drawn(temperature=0.7, top_p=0.95)
_FURTHER = ("Can you explain that in more detail?", "Now write it as a list.", "Give me one more example.")


@dataclass(frozen=True, slots=True)
class Workload:
    """Sizes, in tokens where nothing else is said."""

    streams: tuple[int, ...] = (1, 4, 16, 64)
    """How many replies are generated at the same time."""
    reply: int = 128
    busy_streams: tuple[int, ...] = (1, 4)
    """How many at the same time beside other programs."""
    others: int = field(default_factory=machine.cores)
    """How many of these, each of which would have a processor for itself."""
    prefills: tuple[int, ...] = (512, 2048)
    """Lengths of prompts whose first token is waited for."""
    chats: int = 3
    """Short conversations, one after the other, as people hold them."""
    chat_reply: int = 200
    chat_drawn: Drawn = _AS_CHAT
    turns: int = 20
    """Turns of the one conversation."""
    turn_text: int = 60
    """Of each message of that conversation's user."""
    turn_reply: int = 32
    running: int = 4
    """Replies that run while a long prompt arrives."""
    running_reply: int = 256
    arrival: int = 1500
    """The long prompt that arrives."""
    path_streams: int = 64
    """Replies of the scripted engine at the same time."""
    path_reply: int = 500


QUICK = Workload(
    streams=(1, 4),
    reply=24,
    busy_streams=(1,),
    prefills=(128,),
    chats=1,
    chat_reply=24,
    turns=4,
    running=2,
    running_reply=64,
    arrival=256,
    path_streams=8,
    path_reply=100,
)
"""Enough to see that everything works; its numbers mean nothing."""


class Prompts:
    """Makes prompts that no contender has seen before, the same ones for all of them.

    Args:
        encode: Turns text to tokens, ChatML's marks to their own.
        seed: The same seed gives the same prompts. Another one differs from the first word on, so that nothing
            kept from an earlier repetition helps.
    """

    def __init__(self, encode: Encode, seed: str) -> None:
        self._encode = encode
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def story(self) -> tuple[int, ...]:
        """Returns a request for a reply that goes on for long."""
        subject = self._words(5)
        return self._tokens(
            _user(f"{subject.capitalize()}: write a very long, detailed story in many chapters with these words.")
        )

    def questions(self) -> tuple[str, ...]:
        """Returns what one person asks in a conversation, one turn after the other."""
        return (self._random.choice(_QUESTIONS), *_FURTHER)

    def long(self, length: int) -> tuple[int, ...]:
        """Returns a prompt of exactly so many tokens."""
        return self._tokens(f"<|im_start|>user\n{self.text(length)}")[:length]

    def text(self, length: int) -> str:
        """Returns prose of at least so many tokens, though not many more."""
        # A word of the list is at least one token.
        words = self._words(length).split()
        return ". ".join(" ".join(words[at : at + 9]).capitalize() for at in range(0, len(words), 9)) + "."

    def conversation(self, exchanges: Sequence[tuple[str, str]], text: str) -> tuple[int, ...]:
        """Returns the prompt of a turn: what was said and answered so far, and what is said now."""
        past = "".join(f"{_user(said)}{answered}<|im_end|>\n" for said, answered in exchanges)
        return self._tokens(past + _user(text))

    def _words(self, count: int) -> str:
        return " ".join(self._random.choices(_VOCABULARY.split(), k=count))

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._encode(text))


def _user(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
