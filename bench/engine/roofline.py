"""The most that a machine could do: bytes and operations of one decode step, against measured speeds of both.

A step can be no faster than its weights and caches are read, nor than its multiplications are done (Williams et al.
2009, "Roofline: an insightful visual performance model").
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_KV_BYTES = 2.0
"""A value of the KV cache is held in bf16."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder that count, by the names of its config.json."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int

    @classmethod
    def of(cls, folder: Path) -> Shape:
        """Reads a model's config.json."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        heads = config["num_attention_heads"]
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or config["hidden_size"] // heads,
            vocabulary=config["vocab_size"],
        )

    @property
    def layer_weights(self) -> int:
        """Weights of all layers that a step multiplies with."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_weights(self) -> int:
        """Weights that the logits are computed with."""
        return self.hidden * self.vocabulary


@dataclass(frozen=True, slots=True)
class Form:
    """How weights are held."""

    name: str
    layer_bytes: float
    """Bytes a weight of a layer, scales included."""
    head_bytes: float


FORMS = (
    Form("bf16", 2.0, 2.0),
    # 32 weights are 16 bytes of 4 bits, a scale and a minimum of 2 bytes; the head's 32 are 32 bytes and a scale.
    Form("4-bit blocks, 8-bit head", 20 / 32, 34 / 32),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine was measured to do."""

    bytes_per_second: float
    operations_per_second: float
    """In bf16 or fp32, whichever is faster; a multiplication and its addition are two."""


@dataclass(frozen=True, slots=True)
class Step:
    """One decode step: one new token for each of several replies."""

    bytes: float
    operations: float
    rows: int

    def seconds(self, machine: Machine) -> float:
        """Returns the least time that it can take."""
        return max(self.reading_seconds(machine), self.arithmetic_seconds(machine))

    def reading_seconds(self, machine: Machine) -> float:
        """Returns how long its bytes take."""
        return self.bytes / machine.bytes_per_second

    def arithmetic_seconds(self, machine: Machine) -> float:
        """Returns how long its operations take."""
        return self.operations / machine.operations_per_second

    def tokens_per_second(self, machine: Machine) -> float:
        """Returns the most tokens that can come a second."""
        return self.rows / self.seconds(machine)


def step(shape: Shape, form: Form, rows: int, context: float) -> Step:
    """Returns one decode step.

    Args:
        shape: The model.
        form: How its weights are held.
        rows: Replies in the batch.
        context: Tokens that each of them attends to.
    """
    cached = rows * context * shape.layers * shape.kv_heads * shape.head_size * 2
    attention = rows * context * shape.layers * shape.heads * shape.head_size * 4
    return Step(
        bytes=shape.layer_weights * form.layer_bytes + shape.head_weights * form.head_bytes + cached * _KV_BYTES,
        operations=2.0 * rows * (shape.layer_weights + shape.head_weights) + attention,
        rows=rows,
    )
