"""What the memory service asks of its embedder's process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from services.memory.embedder.async_embedder import Kind
from services.memory.embedder.prompts import Prompts
from services.memory.embedder_process.frames import Frame


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is to load, and how it is to work.

    Attributes:
        embedder: Name of the embedder, not of a server.
        threads: Processor threads for queries, and as many for messages.
        batch_size: Most texts that are embedded at once.
        prompts: What goes before texts; None: what the model itself says.
    """

    embedder: str
    threads: int
    batch_size: int
    prompts: Prompts | None
    log_level: str
    log_format: Literal["text", "json"]

    def to_frame(self) -> Frame:
        """Returns what is sent."""
        return Frame(asdict(self))

    @classmethod
    def of(cls, frame: Frame) -> Order:
        """Returns what was sent."""
        prompts = frame.facts["prompts"]
        return cls(**{**frame.facts, "prompts": None if prompts is None else Prompts(**prompts)})


@dataclass(frozen=True, slots=True)
class Request:
    """Texts to be embedded."""

    number: int
    kind: Kind
    texts: list[str]
    counted: bool

    def to_frame(self) -> Frame:
        """Returns what is sent."""
        return Frame({"number": self.number, "kind": self.kind.value, "texts": self.texts, "counted": self.counted})

    @classmethod
    def of(cls, frame: Frame) -> Request:
        """Returns what was sent."""
        return cls(**{**frame.facts, "kind": Kind(frame.facts["kind"])})
