"""What the terminal says, filled in, in English or in Russian."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from client.terminal.english import ENGLISH
from client.terminal.russian import RUSSIAN

if TYPE_CHECKING:
    from collections.abc import Mapping


class Words:
    """The catalogue of one language, filled in by name: `words("set", name="seed", value="7")`."""

    def __init__(self, catalogue: Mapping[str, str]) -> None:
        self._catalogue = catalogue

    @property
    def language(self) -> str:
        """`en` or `ru`."""
        return "ru" if self._catalogue is RUSSIAN else "en"

    def __call__(self, key: str, **values: object) -> str:
        """Returns what stands under a key, filled in."""
        return self._catalogue[key].format(**values)

    def messages(self, count: int) -> str:
        """Returns "3 messages" in the language's plural form (CLDR: one, few, many)."""
        if self._catalogue is not RUSSIAN:
            form = "one" if count == 1 else "many"
        elif count % 10 == 1 and count % 100 != 11:
            form = "one"
        elif count % 10 in (2, 3, 4) and count % 100 not in (12, 13, 14):
            form = "few"
        else:
            form = "many"
        return self(f"{form}_messages" if form != "one" else "one_message", count=count)


LANGUAGES: Final[Mapping[str, Words]] = {"en": Words(ENGLISH), "ru": Words(RUSSIAN)}
"""The languages that the terminal speaks."""


def words_of_locale(environment: Mapping[str, str] = os.environ) -> Words:
    """Returns the catalogue for the user's locale, as POSIX orders its variables; English where it is not Russian."""
    locale = next((v for k in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := environment.get(k))), "")
    language = re.split(r"[_.@-]", locale.lower())[0]
    return LANGUAGES["ru" if language in ("ru", "russian") else "en"]
