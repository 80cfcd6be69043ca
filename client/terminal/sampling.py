"""The sampling settings that `/set` changes: their names, what they take, and how they are read and shown."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from client.values import SamplingConfig

SYSTEM = "system"
"""The one setting that belongs to the conversation: its system prompt."""

DEFAULT = "default"
"""The value that unsets."""


class WrongValue(ValueError):
    """A setting was given a value that it does not take.

    Args:
        key: What it takes, as a key of the terminal's messages.
        limits: What fills that message in, but for the setting's name and the value.
    """

    def __init__(self, key: str, **limits: str) -> None:
        super().__init__(key)
        self.key = key
        self.limits = limits


@dataclass(frozen=True, slots=True)
class _Range:
    """Numbers that a setting takes."""

    least: float
    most: float
    whole: bool = False
    over: bool = False
    """Whether `least` itself is not taken."""

    def read(self, text: str) -> float:
        try:
            # A decimal comma is what half of the world writes.
            value = int(text) if self.whole else float(text.replace(",", "."))
        except ValueError:
            raise self._wrong() from None
        if not self.least <= value <= self.most or (self.over and value == self.least):
            raise self._wrong()
        return value

    def _wrong(self) -> WrongValue:
        key = "wants_whole_number_in" if self.whole else "wants_number_over" if self.over else "wants_number_in"
        return WrongValue(key, least=_short(self.least), most=_short(self.most))


_NUMBERS: Final = {
    "temperature": _Range(0, 5),
    "top_p": _Range(0, 1, over=True),
    "top_k": _Range(0, 2**31 - 1, whole=True),
    "min_p": _Range(0, 1),
    "repetition_penalty": _Range(0, 10, over=True),
    "frequency_penalty": _Range(-2, 2),
    "presence_penalty": _Range(-2, 2),
    "seed": _Range(0, 2**64 - 1, whole=True),
    "max_tokens": _Range(1, 2**31 - 1, whole=True),
}

_MOST_STOPS = 16

SAMPLING_NAMES: Final = (*_NUMBERS, "stop")
"""What can be set of a `SamplingConfig`."""


def changed(sampling: SamplingConfig, name: str, value: str) -> SamplingConfig:
    """Returns the settings with one of `SAMPLING_NAMES` set to what was typed, or unset by `default`.

    Raises:
        WrongValue: The setting does not take that.
    """
    if name == "stop":
        return dataclasses.replace(sampling, stop=() if value == DEFAULT else _read_stops(value))
    number: Any = None if value == DEFAULT else _NUMBERS[name].read(value)
    return dataclasses.replace(sampling, **{name: number})


def shown(sampling: SamplingConfig, name: str) -> str | None:
    """Returns a setting as it would be typed; None where it is not set."""
    if name == "stop":
        return " ".join(shlex.quote(stop.replace("\n", "\\n")) for stop in sampling.stop) or None
    value = getattr(sampling, name)
    return None if value is None else _short(value)


def _read_stops(text: str) -> tuple[str, ...]:
    try:
        stops = tuple(part.replace("\\n", "\n") for part in shlex.split(text.replace("\\", "\\\\")))
    except ValueError:  # a quote that is not closed
        raise WrongValue("wants_stops") from None
    if not stops or len(stops) > _MOST_STOPS or not all(1 <= len(stop) <= 256 for stop in stops):
        raise WrongValue("wants_stops")
    return stops


def _short(number: float) -> str:
    # The protocol's floats have 32 bits, about seven digits.
    return str(number) if isinstance(number, int) else f"{number:.6g}"
