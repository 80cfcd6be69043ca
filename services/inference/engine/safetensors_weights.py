"""The weights of a folder's safetensors files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, Any, Self

from safetensors import safe_open

from services.inference.engine.token_table import HeldTable

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from types import TracebackType

    import torch

    from services.inference.engine.block_weights import Blocks

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


class SafetensorsWeights:
    """A `WeightSource`; nothing in it is in blocks. Files are open within its context.

    Raises:
        OSError, ValueError, KeyError, safetensors.SafetensorError: A file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.total_bytes = 0
        self._files: dict[str, Any] = {}
        with ExitStack() as stack:
            for name in _file_names(folder):
                self.total_bytes += (folder / name).stat().st_size
                file = stack.enter_context(safe_open(folder / name, framework="pt"))
                self._files.update(dict.fromkeys(file.keys(), file))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the files."""
        self._stack.close()

    @property
    def names(self) -> Collection[str]:
        """As `WeightSource.names`."""
        return self._files.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """As `WeightSource.shape`."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def stored_bytes(self, name: str) -> int:
        """As `WeightSource.stored_bytes`."""
        return prod(self.shape(name)) * _ITEM_BYTES.get(self._files[name].get_slice(name).get_dtype(), 1)

    def take(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """As `WeightSource.take`."""
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        return tensor.to(dtype)

    def take_table(self, name: str, dtype: torch.dtype) -> HeldTable:
        """As `WeightSource.take_table`."""
        return HeldTable(self.take(name, dtype))

    def form_of(self, name: str) -> None:
        """As `WeightSource.form_of`."""

    def take_blocks(self, name: str) -> Blocks:
        """As `WeightSource.take_blocks`."""
        raise KeyError(name)


def _file_names(folder: Path) -> list[str]:
    if (folder / _SINGLE).exists():
        return [_SINGLE]
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return sorted(set(index["weight_map"].values()))
