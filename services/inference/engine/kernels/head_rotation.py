"""Gives a head its token's position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.kernels.emitter import F32, LANES, Emitter, float32, int64, vector

if TYPE_CHECKING:
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.kernels.emitter import Value

_STEP = 4 * LANES


@dataclass(frozen=True, slots=True)
class HeadRotation:
    """How heads of queries or of keys are turned."""

    shape: AttentionShape
    norm: Any
    """The function that norms a row."""
    norm_weight: Value
    """Of the norm, where the model norms heads."""

    def rotated(self, emitter: Emitter, head: Value, cosines: Value, sines: Value) -> list[Value]:
        """Returns a head's vectors, normed where the model norms heads and rotated (Su et al. 2021).

        Args:
            emitter: The function that is written.
            head: Address of its floats, which the norm overwrites.
            cosines: Address of those of the token's position.
            sines: As `cosines`; with the sign that half a turn of the head gives them.
        """
        shape = self.shape
        if shape.heads_normed:
            size = int64(shape.head_size)
            emitter.build.call(self.norm, [head, self.norm_weight, head, size, float32(shape.epsilon)])
        half = shape.parts // 2
        values = [emitter.load(vector(F32), head, _STEP * part) for part in range(shape.parts)]
        turned = []
        for part in range(shape.parts):
            cosine, sine = (emitter.load(vector(F32), table, _STEP * part) for table in (cosines, sines))
            across = emitter.times(values[(part + half) % shape.parts], sine)
            turned.append(emitter.plus_product(across, values[part], cosine))
        return turned
