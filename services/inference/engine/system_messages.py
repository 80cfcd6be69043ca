"""How many tokens a system message comes to, whatever follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.inference.engine.recently_used import RecentlyUsed

if TYPE_CHECKING:
    from services.inference.engine.protocol import Message
    from services.inference.engine.tokenizer import ChatTokenizer

_REMEMBERED = 256


class SystemMessages:
    """Counts them, and remembers those that come again. For one thread.

    Args:
        tokenizer: The model's.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._counts: RecentlyUsed[tuple[str, Message], int] = RecentlyUsed(_REMEMBERED)

    def count(self, system: Message, key: str) -> int:
        """Returns how many tokens every conversation with this message begins with.

        Args:
            system: The message.
            key: What was counted for one is never remembered for another.

        Raises:
            PromptRefused: The model's chat template cannot take it.
        """
        return self._counts.found((key, system), lambda: len(self._tokenizer.system_prefix(system, key)))
