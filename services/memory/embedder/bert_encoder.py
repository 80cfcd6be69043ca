"""The encoder of the small BERT: tokens in, unit rows out.

Its layers are compiled for the processor at start. Texts stand one after another without padding, and what a text gets
does not depend on those beside it, to the last bit.
"""

from __future__ import annotations

import ctypes
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from services.kernels.emitter import LANES
from services.kernels.machine_code import Target
from services.memory.embedder.kernels.attention_kernel import QUERIES
from services.memory.embedder.kernels.byte_products import ByteProducts
from services.memory.embedder.kernels.encoder_kernel import EncoderShape, write_encoder
from services.memory.embedder.kernels.encoder_tables import EncoderField, LayerField
from services.memory.embedder.kernels.float_products import FloatProducts
from services.memory.embedder.kernels.products import OWN_BYTES
from services.memory.embedder.kernels.rotation import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from services.kernels.processor import Processor
    from services.memory.embedder.kernels.products import Products

    Floats = NDArray[np.float32]

_TOKENS_AT_ONCE = 256
"""Of several texts: what they take then stays in a processor's own cache."""
_SPARE_ROWS = 16
"""Attention reads whole sixteens of tokens."""


class Precision(Enum):
    """What products are of."""

    BYTES = ByteProducts
    FLOATS = FloatProducts

    @staticmethod
    def fastest(processor: Processor) -> Precision:
        """Returns the one that a processor is faster with."""
        return Precision.BYTES if processor.adds_four_products else Precision.FLOATS


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
    weights: Mapping[str, Floats]
    words: Callable[[NDArray[np.int64]], Floats]
    normalize: Callable[[str], str]
    dimension: int
    layers: int
    heads: int
    eps: float
    longest: int


def fits(hidden: int, intermediate: int, heads: int) -> bool:
    """Returns whether an encoder of such sizes can be compiled."""
    return hidden % BLOCK == 0 and intermediate % BLOCK == 0 and hidden % (heads * LANES) == 0


class BertEncoder:
    """Encodes on the processor. Any number of threads may call at once.

    Args:
        parts: What to encode with, of sizes that `fits` holds for. Of its weights only the embeddings are held on to.
        threads: Processor threads that one call may take.
        precision: Of products; None: the fastest of this processor.
        features: What the processor is taken to have, as LLVM names it; None: what it has.

    Raises:
        KeyError, ValueError: A weight is missing or of another shape.
        RuntimeError: LLVM cannot compile for this processor.
    """

    def __init__(
        self,
        parts: BertParts,
        threads: int = 1,
        precision: Precision | None = None,
        features: str | None = None,
    ) -> None:
        weights = parts.weights
        self._words = parts.words
        self._threads = threads
        self._longest = parts.longest
        # Every token is of the first type.
        self._places = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._shape = EncoderShape(
            layers=parts.layers,
            hidden=parts.dimension,
            intermediate=len(weights["encoder.layer.0.intermediate.dense.bias"]),
            heads=parts.heads,
            epsilon=parts.eps,
        )
        target = Target(features)
        kind: type[Products] = (precision or Precision.fastest(target.processor)).value
        module = target.module("encoder")
        write_encoder(module, self._shape, target.processor, kind(module, target.processor))
        self._code = target.compile(module)
        self._encode = self._code.function("encode", [ctypes.c_void_p])
        self._weights = _EncoderWeights(weights, self._shape, kind)
        self._idle: list[_Workspace] = []

    def encode(self, tokens: Sequence[Sequence[int]]) -> Floats:
        """Returns `[texts, dimension]` unit rows."""
        calls = _parted(tokens)
        if self._threads > 1 and len(calls) > 1:
            # Threads of a call of their own: they have the priority of the one that calls.
            with ThreadPoolExecutor(min(self._threads, len(calls))) as pool:
                return np.concatenate(list(pool.map(self._encode_at_once, calls)))
        return np.concatenate([self._encode_at_once(texts) for texts in calls])

    def _encode_at_once(self, texts: Sequence[Sequence[int]]) -> Floats:
        counts = np.array([len(text) for text in texts])
        ids = np.fromiter((token for text in texts for token in text), np.int64, counts.sum())
        starts = np.cumsum(counts) - counts
        places = np.arange(len(ids)) - np.repeat(starts, counts)
        try:
            room = self._idle.pop()
        except IndexError:
            room = _Workspace(self._shape, max(_TOKENS_AT_ONCE, self._longest))
        hidden = room.hidden[: len(ids)]
        hidden[:] = self._words(ids)
        room.narrow[: len(ids)] = self._places[places]
        table = room.table(counts, self._weights)
        self._encode(table.ctypes.data)
        # The mean's length does not matter.
        sums = np.add.reduceat(hidden, starts, axis=0)
        self._idle.append(room)
        return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _parted(tokens: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Returns texts in parts of no more tokens than are encoded at once, but where one text has."""
    parts: list[list[Sequence[int]]] = []
    room = 0
    for text in tokens:
        if len(text) > room or not parts:
            parts.append([])
            room = _TOKENS_AT_ONCE
        parts[-1].append(text)
        room -= len(text)
    return parts


class _EncoderWeights:
    """Where compiled code finds a model's weights.

    Args:
        weights: See `BertParts`.
        shape: The model's.
        products: How linears lie.

    Raises:
        KeyError, ValueError: One is missing or of another shape.
    """

    def __init__(self, weights: Mapping[str, Floats], shape: EncoderShape, products: type[Products]) -> None:
        self._from = weights
        self._shape = shape
        self._products = products
        self._kept: list[NDArray[np.generic]] = []
        self.opening = self._norm("embeddings.LayerNorm")
        layers = np.array([self._layer(f"encoder.layer.{number}") for number in range(shape.layers)], dtype=np.int64)
        self.layers = self._keep(layers)
        self._from = {}

    def _layer(self, name: str) -> list[int]:
        hidden, intermediate = self._shape.hidden, self._shape.intermediate
        row = dict.fromkeys(LayerField, 0)
        row[LayerField.QKV] = self._qkv(f"{name}.attention.self")
        row[LayerField.ATTENTION_OUT] = self._linear(f"{name}.attention.output.dense", hidden, hidden)
        row[LayerField.AFTER_ATTENTION_WEIGHT], row[LayerField.AFTER_ATTENTION_BIAS] = self._norm(
            f"{name}.attention.output.LayerNorm"
        )
        row[LayerField.GROW] = self._linear(f"{name}.intermediate.dense", intermediate, hidden)
        row[LayerField.SHRINK] = self._linear(f"{name}.output.dense", hidden, intermediate)
        row[LayerField.AFTER_WEIGHT], row[LayerField.AFTER_BIAS] = self._norm(f"{name}.output.LayerNorm")
        return [row[field] for field in LayerField]

    def _qkv(self, name: str) -> int:
        hidden = self._shape.hidden
        weights, biases = (
            [self._float(f"{name}.{part}.{last}", *size) for part in ("query", "key", "value")]
            for last, size in (("weight", (hidden, hidden)), ("bias", (hidden,)))
        )
        # Scores are powers of two, divided by the root of a head's size.
        scale = np.float32(math.log2(math.e) * (self._shape.heads / hidden) ** 0.5)
        weights[0], biases[0] = weights[0] * scale, biases[0] * scale
        return self._keep(self._products.packed(np.concatenate(weights), np.concatenate(biases)))

    def _linear(self, name: str, outputs: int, inputs: int) -> int:
        weight, bias = self._float(f"{name}.weight", outputs, inputs), self._float(f"{name}.bias", outputs)
        return self._keep(self._products.packed(weight, bias))

    def _norm(self, name: str) -> tuple[int, int]:
        weight, bias = (self._keep(self._float(f"{name}.{last}", self._shape.hidden)) for last in ("weight", "bias"))
        return weight, bias

    def _float(self, name: str, *shape: int) -> Floats:
        values = self._from[name]
        if values.shape != shape:
            raise ValueError(f"{name} is of shape {values.shape}, not {shape}")
        return values

    def _keep(self, array: NDArray[np.generic]) -> int:
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return array.ctypes.data


class _Workspace:
    """What one call writes to.

    Args:
        shape: The model's.
        tokens: Most that there is room for.
    """

    def __init__(self, shape: EncoderShape, tokens: int) -> None:
        rows = tokens + _SPARE_ROWS
        widest = max(shape.hidden, shape.intermediate)
        sizes = {
            EncoderField.HIDDEN: tokens * shape.hidden,
            EncoderField.WIDE: rows * shape.widest,
            EncoderField.NARROW: tokens * shape.hidden,
            EncoderField.VALUES: tokens * widest,
            EncoderField.OWN: tokens * OWN_BYTES // 4,
            EncoderField.SCRATCH: widest,
            EncoderField.KEYS: rows * shape.hidden // shape.heads,
            EncoderField.SCORES: QUERIES * rows,
        }
        self._rooms = {field: np.zeros(size, dtype=np.float32) for field, size in sizes.items()}
        self._table = np.zeros(len(EncoderField), dtype=np.int64)
        for field, room in self._rooms.items():
            self._table[field] = room.ctypes.data
        self.hidden, self.narrow = (
            self._rooms[field].reshape(tokens, shape.hidden) for field in (EncoderField.HIDDEN, EncoderField.NARROW)
        )

    def table(self, counts: NDArray[np.int64], weights: _EncoderWeights) -> NDArray[np.int64]:
        """Returns what compiled code is called with, for texts of so many tokens; `counts` has to be held on to."""
        table = self._table
        table[EncoderField.TOKENS] = counts.sum()
        table[EncoderField.TEXTS] = len(counts)
        table[EncoderField.COUNTS] = counts.ctypes.data
        table[EncoderField.LAYERS] = weights.layers
        table[EncoderField.OPENING_WEIGHT], table[EncoderField.OPENING_BIAS] = weights.opening
        return table
