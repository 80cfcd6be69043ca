"""A decoder whose linears are in blocks: what the compiled step is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.inference.engine.block_linears import DecoderBlocks
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.decoder_weights import DecoderWeights
    from services.inference.engine.token_table import TokenTable


@dataclass(frozen=True, slots=True)
class BlockModel:
    """Weights that can be compiled for (`can_compile`)."""

    config: DecoderConfig
    weights: DecoderWeights[TokenTable]
    """All but the linears."""
    blocks: DecoderBlocks
    """The linears."""

    @property
    def parameters(self) -> int:
        """How many there are."""
        return self.weights.parameters
