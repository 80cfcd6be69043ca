"""Reads weights from a `.gguf` file: blocks as they are, and anything in it as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from services.inference.engine.block_weights import joined
from services.inference.engine.gguf_blocks import FORM_OF, read_blocks
from services.inference.engine.token_table import HeldTable, PackedTable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_weights import Blocks
    from services.inference.engine.gguf_source import GgufSource, StoredTensor
    from services.inference.engine.token_table import TokenTable

_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_WEIGHTS_AT_ONCE = 2**20
"""What is needed on the way is small beside a matrix."""


class GgufWeights:
    """A `WeightSource`.

    Raises:
        OSError: The file is no longer there.
        ValueError: It is another one than it was.
    """

    def __init__(self, source: GgufSource) -> None:
        file = Path(source.path)
        status = file.stat()
        if (status.st_size, status.st_mtime_ns) != (source.size, source.mtime_ns):
            raise ValueError("the file has changed")
        self._tensors = source.tensors
        self._bytes = np.memmap(file, dtype=np.uint8, mode="r")
        self.total_bytes = sum(tensor.bytes for tensor in self._tensors.values())

    @property
    def names(self) -> Collection[str]:
        """As `WeightSource.names`."""
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """As `WeightSource.shape`."""
        return self._tensors[name].shape

    def stored_bytes(self, name: str) -> int:
        """As `WeightSource.stored_bytes`."""
        return self._tensors[name].bytes

    def take(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """As `WeightSource.take`."""
        tensor = self._tensors[name]
        out = torch.empty(tensor.shape, dtype=dtype)
        for begin, rows in self._rows(tensor):
            values = _values(tensor.kind, rows)
            if len(tensor.shape) == 1:
                values = values[:, 0]
            out[begin : begin + len(rows)] = values - 1 if tensor.raised else values
        return out

    def take_table(self, name: str, dtype: torch.dtype) -> TokenTable:
        """As `WeightSource.take_table`: a copy of the file's bytes, for whoever owns the file may write to it."""
        tensor = self._tensors[name]
        if tensor.kind in _PLAIN:
            return HeldTable(self.take(name, dtype))
        packed = torch.from_numpy(np.concatenate([rows for _, rows in self._rows(tensor)]))
        vocabulary, hidden_size = tensor.shape
        return PackedTable(
            (vocabulary, hidden_size), dtype, lambda rows: _values(tensor.kind, packed[rows].numpy()), packed.nbytes
        )

    def form_of(self, name: str) -> Form | None:
        """As `WeightSource.form_of`."""
        return FORM_OF.get(self._tensors[name].kind)

    def take_blocks(self, name: str) -> Blocks:
        """As `WeightSource.take_blocks`."""
        tensor = self._tensors[name]
        return joined([read_blocks(tensor.kind, torch.from_numpy(rows)) for _, rows in self._rows(tensor)])

    def _rows(self, tensor: StoredTensor) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the bytes of some rows after the other, and which they begin with. A vector's rows are its values."""
        count = tensor.shape[0]
        rows = self._bytes[tensor.offset : tensor.offset + tensor.bytes].reshape(count, -1)
        order = _ours(count, tensor.heads)
        at_once = max(1, _WEIGHTS_AT_ONCE * count // max(1, int(np.prod(tensor.shape))))
        for begin in range(0, count, at_once):
            yield begin, np.array(rows[order[begin : begin + at_once]])


def can_read(kind: str) -> bool:
    """Whether weights of a type are read, by ggml's name of it."""
    if kind in _PLAIN or kind in FORM_OF:
        return True
    one = GGMLQuantizationType[kind]
    try:
        gguf.quants.dequantize(np.zeros((1, GGML_QUANT_SIZES[one][1]), dtype=np.uint8), one)
    except NotImplementedError:
        # The package has no other way to ask.
        return False
    return True


def _ours(rows: int, heads: int) -> np.ndarray:
    """Returns which row of the file comes where: what ggml rotates as neighbours lies half a head apart here."""
    order = np.arange(rows)
    return order.reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1) if heads else order


def _values(kind: str, rows: np.ndarray) -> torch.Tensor:
    if kind in _PLAIN:
        return torch.from_numpy(rows).view(_PLAIN[kind])
    if kind in FORM_OF:
        return read_blocks(kind, torch.from_numpy(rows)).dequantized()
    return torch.from_numpy(gguf.quants.dequantize(rows, GGMLQuantizationType[kind]))
