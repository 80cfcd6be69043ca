"""How many tokens a system message comes to, whatever follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        self._counts: dict[Message, int] = {}

    def count(self, system: Message) -> int:
        """Returns how many tokens every conversation with this message begins with.

        Raises:
            PromptRefused: The model's chat template cannot take it.
        """
        if system not in self._counts:
            if len(self._counts) >= _REMEMBERED:
                self._counts.clear()
            self._counts[system] = len(self._tokenizer.system_prefix(system))
        return self._counts[system]
