"""A decoder-only transformer of our own, for the Llama, Qwen and Gemma families.

It works on the tokens of all sequences of a step as one flat row, so that each linear runs once a step whoever
shares it; only attention knows which token belongs to which sequence. Hugging Face's classes are its oracle:
token-for-token the same greedy replies in fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional

from services.inference.engine.decoder_config import Rope

if TYPE_CHECKING:
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.decoder_weights import DecoderLinears, DecoderWeights, LayerLinears, LayerNorms


class Attention(Protocol):
    """Which tokens of a step attend to which, and where their keys and values are kept."""

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Keeps the keys and values of N tokens and returns what their H query heads read.

        Args:
            layer: Which layer it is.
            qkv: Shape `(N, H + 2 KV, D)`: heads of queries, keys and values, rotated.

        Returns:
            Shape `(N, H * D)`.
        """


class Decoder:
    """Computes logits. Holds weights and nothing of any sequence."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights[torch.Tensor], linears: DecoderLinears) -> None:
        self.config = config
        self._weights = weights
        self._linears = linears
        self.parameters = weights.parameters
        self.vocabulary_size = weights.embedding.shape[0]
        self.dtype = weights.embedding.dtype
        self.device = weights.embedding.device
        self._ropes = [Rope(rope.inverse_frequencies.to(self.device), rope.scale) for rope in config.ropes]
        self._before_attention = self._compute_before
        self._after_attention = self._compute_after
        # As a tensor of the weights' dtype: so it is rounded as the models were trained.
        self._embedding_scale = torch.tensor(config.embedding_scale, dtype=self.dtype, device=self.device)

    @torch.inference_mode()
    def forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, attention: Attention, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Computes one step.

        Args:
            tokens: Token ids, shape `(N,)`.
            positions: Of each in its sequence, shape `(N,)`.
            attention: Who attends to whom.
            wanted: Which of the N tokens' logits are asked for, shape `(M,)`.

        Returns:
            Shape `(M, vocabulary)`.
        """
        hidden = functional.embedding(tokens, self._weights.embedding)
        if self.config.embedding_scale != 1.0:
            hidden = hidden * self._embedding_scale
        rotations = [_rotation(rope, positions, self.dtype) for rope in self._ropes]
        for number, (norms, linears) in enumerate(zip(self._weights.layers, self._linears.layers, strict=True)):
            cosines, sines = rotations[self.config.rope_of_layer[number]]
            qkv = self._before_attention(norms, linears, hidden, cosines, sines)
            hidden = self._after_attention(norms, linears, hidden, attention.attend(number, qkv))
        logits = self._linears.head(self._norm(hidden[wanted], self._weights.norm))
        return _capped(logits, self.config.logits_cap)

    def fuse(self) -> None:
        """Has torch compile what lies between two attentions, so that its small operations become a few.

        They are compiled at the next call, which takes tens of seconds, and a C compiler where the device is a GPU.
        """
        self._before_attention = torch.compile(self._compute_before)
        self._after_attention = torch.compile(self._compute_after)

    def unfuse(self) -> None:
        """Undoes `fuse`."""
        self._before_attention, self._after_attention = self._compute_before, self._compute_after

    def _compute_before(
        self, norms: LayerNorms, linears: LayerLinears, hidden: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
    ) -> torch.Tensor:
        config = self.config
        qkv = linears.qkv(self._norm(hidden, norms.attention))
        qkv = qkv.view(len(hidden), config.heads + 2 * config.kv_heads, config.head_size)
        rotated = qkv[:, : config.heads + config.kv_heads]
        if norms.query is not None and norms.key is not None:
            queries = self._norm(rotated[:, : config.heads], norms.query)
            keys = self._norm(rotated[:, config.heads :], norms.key)
            rotated.copy_(_rotated(torch.cat((queries, keys), dim=1), (cosines, sines)))
        else:
            rotated.copy_(_rotated(rotated, (cosines, sines)))
        return qkv

    def _compute_after(
        self, norms: LayerNorms, linears: LayerLinears, hidden: torch.Tensor, attended: torch.Tensor
    ) -> torch.Tensor:
        read = linears.attention_out(attended)
        hidden = hidden + (read if norms.after_attention is None else self._norm(read, norms.after_attention))
        return hidden + self._mlp(norms, linears, hidden)

    def _mlp(self, norms: LayerNorms, linears: LayerLinears, hidden: torch.Tensor) -> torch.Tensor:
        gate, up = linears.gate_up(self._norm(hidden, norms.mlp)).chunk(2, dim=-1)
        silu = self.config.activation == "silu"
        gate = functional.silu(gate) if silu else functional.gelu(gate, approximate="tanh")
        out = linears.down(gate * up)
        return out if norms.after_mlp is None else self._norm(out, norms.after_mlp)

    def _norm(self, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Root mean square norm (Zhang and Sennrich 2019) over the last dimension."""
        if values.dtype == weight.dtype:
            return functional.rms_norm(values, weight.shape, weight, self.config.norm_epsilon)
        normed = functional.rms_norm(values.float(), weight.shape, weight, self.config.norm_epsilon)
        return normed.to(values.dtype)


def _rotation(rope: Rope, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns cosines, and sines with the sign that a half turn of the head gives them; each `(N, 1, D)`."""
    angles = positions[:, None].float() * rope.inverse_frequencies
    cosines, sines = angles.cos() * rope.scale, angles.sin() * rope.scale
    return (
        torch.cat((cosines, cosines), dim=-1).to(dtype)[:, None],
        torch.cat((-sines, sines), dim=-1).to(dtype)[:, None],
    )


def _rotated(heads: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cosines, sines = rotation
    return torch.addcmul(heads * cosines, heads.roll(heads.shape[-1] // 2, dims=-1), sines)


def _capped(values: torch.Tensor, cap: float | None) -> torch.Tensor:
    return values if cap is None else torch.tanh(values / cap) * cap
