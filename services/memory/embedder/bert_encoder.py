"""The encoder of the small BERT: tokens in, unit rows out.

Texts of a batch stand one after another without padding; only attention, which is little of the work, is computed on
padded rows. What is carried from layer to layer, norms and the mean are float32 whatever products are in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from services.memory.embedder.linear import Linear

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tokenizers import Tokenizer

_SHORT = 64
"""Tokens up to which plain products are faster attention than the fused kernel, which prepares itself at each call."""
_MOST_SCORE = 60.0
"""Of attention, either way; encoders give a third of it. What is e to its power can be summed in either precision."""


@dataclass(frozen=True, slots=True)
class BertParts:
    """A sentence encoder's weights and what goes with them.

    Attributes:
        tokenizer: Without padding and truncation.
        weights: By the names that Hugging Face's class has for them.
        words: Returns the word embeddings of token ids, `[*ids.shape, dimension]`.
        normalize: What a text goes through before it is cut into pieces and tokens.
        dimension: Length of a vector.
        layers: How many.
        heads: Of attention.
        eps: Of layer norms.
        longest: Most tokens at once, the opening and the closing one among them.
    """

    tokenizer: Tokenizer
    weights: Mapping[str, torch.Tensor]
    words: Callable[[torch.Tensor], torch.Tensor]
    normalize: Callable[[str], str]
    dimension: int
    layers: int
    heads: int
    eps: float
    longest: int


class BertEncoder:
    """Encodes on the processor.

    Args:
        parts: What to encode with. Of its weights only the embeddings are held on to.
        dtype: Precision of products.

    Raises:
        KeyError, RuntimeError: A weight is missing or of another shape.
    """

    def __init__(self, parts: BertParts, dtype: torch.dtype) -> None:
        weights = parts.weights
        self._words = parts.words
        self._heads = parts.heads
        self._dimension = parts.dimension
        self._dtype = dtype
        # Every token is of the first type.
        self._places = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._opening = _Norm(weights, "embeddings.LayerNorm", parts.eps)
        self._layers = [_Layer(weights, f"encoder.layer.{number}", parts, dtype) for number in range(parts.layers)]

    @torch.inference_mode()
    def encode(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Returns `[texts, dimension]` unit rows of float32."""
        counts = torch.tensor([len(row) for row in tokens])
        rows = _Rows(counts, self._dtype)
        ids = torch.tensor([i for row in tokens for i in row])
        x = self._opening(self._words(ids) + self._places.index_select(0, rows.places))
        for layer in self._layers:
            x = layer(x, rows)
        sums = x.new_zeros(len(tokens), self._dimension).index_add_(0, rows.texts, x)
        return F.normalize(sums, dim=1)


class _Rows:
    """Which of a batch's tokens belongs where.

    Args:
        counts: Tokens of each text.
        dtype: Of what is padded.
    """

    def __init__(self, counts: torch.Tensor, dtype: torch.dtype) -> None:
        self.count, self.longest = len(counts), int(counts.max())
        real = torch.arange(self.longest) < counts[:, None]
        self.texts, self.places = real.nonzero(as_tuple=True)
        self.real = real[:, :, None].to(dtype)
        """`[texts, longest, 1]`: 1 for a token, 0 for padding."""
        self._at: torch.Tensor | None = None
        if not bool(real.all()):
            tokens = len(self.texts)
            self._at = self.texts * self.longest + self.places
            # Past the last token there is a row of zeros.
            self._from = torch.full((self.count * self.longest,), tokens).index_copy_(0, self._at, torch.arange(tokens))

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """Returns `[texts * longest, width]` for `[tokens, width]`, padding as zeros."""
        if self._at is None:
            return values
        return torch.cat([values, values.new_zeros(1, values.shape[1])]).index_select(0, self._from)

    def unpadded(self, values: torch.Tensor) -> torch.Tensor:
        """Returns `[tokens, width]` for `[texts * longest, width]`."""
        return values if self._at is None else values.index_select(0, self._at)

    def mask(self) -> torch.Tensor | None:
        """Returns what is added to scores, `[texts, 1, 1, longest]`; None where no text is padded."""
        return None if self._at is None else self.real[:, None, None, :, 0].log()


class _Norm:
    def __init__(self, weights: Mapping[str, torch.Tensor], name: str, eps: float) -> None:
        self._weight, self._bias, self._eps = weights[f"{name}.weight"], weights[f"{name}.bias"], eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self._weight, self._bias, self._eps)


class _Layer:
    def __init__(self, weights: Mapping[str, torch.Tensor], name: str, parts: BertParts, dtype: torch.dtype) -> None:
        def of(*inner: str, last: str) -> torch.Tensor:
            return torch.cat([weights[f"{name}.{part}.{last}"] for part in inner])

        def linear(*inner: str, gelu: bool = False) -> Linear:
            return Linear(of(*inner, last="weight"), of(*inner, last="bias"), dtype, gelu=gelu)

        self._heads = parts.heads
        self._inward = linear("attention.self.query", "attention.self.key", "attention.self.value")
        self._outward = linear("attention.output.dense")
        self._grow = linear("intermediate.dense", gelu=True)
        self._shrink = linear("output.dense")
        self._after_attention = _Norm(weights, f"{name}.attention.output.LayerNorm", parts.eps)
        self._after = _Norm(weights, f"{name}.output.LayerNorm", parts.eps)

    def __call__(self, x: torch.Tensor, rows: _Rows) -> torch.Tensor:
        attended = rows.unpadded(self._attended(rows.padded(self._inward(x)), rows))
        x = self._after_attention(x + self._outward(attended))
        return self._after(x + self._shrink(self._grow(x)))

    def _attended(self, qkv: torch.Tensor, rows: _Rows) -> torch.Tensor:
        """Returns `[texts * longest, dimension]` for queries, keys and values, `[texts * longest, 3 * dimension]`."""
        texts, longest, heads = rows.count, rows.longest, self._heads
        q, k, v = qkv.view(texts, longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        if longest > _SHORT:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=rows.mask())
        else:
            # The softmax of so short rows, one by one, would take longer than both products. Padding has a part in no
            # sum: its values are zeros, and in the sum of weights it counts 0.
            each = (texts * heads, longest, q.shape[-1])
            scores = torch.bmm(q.reshape(each), k.reshape(each).transpose(1, 2))
            weights = scores.mul_(q.shape[-1] ** -0.5).clamp_(-_MOST_SCORE, _MOST_SCORE).exp_()
            sums = torch.bmm(weights.view(texts, heads * longest, longest), rows.real)
            attended = torch.bmm(weights, v.reshape(each)).view(q.shape).div_(sums.view(texts, heads, longest, 1))
        return attended.transpose(1, 2).reshape(texts * longest, -1)
