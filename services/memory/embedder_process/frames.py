"""What passes between the memory service and its embedder's process: frames of a few facts and some vectors.

A frame is two lengths in bytes, little-endian, 32 bits each; then the facts as JSON; then rows of float32.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

_LENGTHS = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        facts: What JSON can say.
        numbers: Of rows, one behind the other.
    """

    facts: Mapping[str, Any]
    numbers: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))

    def to_bytes(self) -> bytes:
        """Returns it as it is sent."""
        facts = json.dumps(self.facts).encode()
        return b"".join((_LENGTHS.pack(len(facts), self.numbers.nbytes), facts, self.numbers.tobytes()))


class FrameReader:
    """Puts frames together from what arrives, however it is cut."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields the frames that are whole with these bytes. It is to be read to its end."""
        held = self._held
        held += data
        while len(held) >= _LENGTHS.size:
            for_facts, for_numbers = _LENGTHS.unpack_from(held)
            middle = _LENGTHS.size + for_facts
            end = middle + for_numbers
            if len(held) < end:
                return
            frame = Frame(json.loads(held[_LENGTHS.size : middle]), np.frombuffer(held[middle:end], dtype=np.float32))
            del held[:end]
            yield frame
