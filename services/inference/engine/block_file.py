"""Blocks of a `.gguf` file, kept beside the weights that were converted from it.

Those of 4 and 6 bits are taken as they are. Those of tensors that the file holds in another form are not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from services.inference.engine.block_weights import Blocks, split_last

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from services.inference.engine.block_weights import Bits

BLOCK_FILE = "weights.blocks"
"""Not named safetensors, though it is in their form: whoever reads those of a folder expects only a model in them."""
_LAST: dict[Bits, str] = {4: "zeros", 6: "upper"}
"""What is stored of a matrix besides `codes` and `scales`, by its bits."""


def has_4_bit_blocks(folder: Path) -> bool:
    """Whether a model folder has blocks of its own, some of them of 4 bits."""
    if not (folder / BLOCK_FILE).is_file():
        return False
    with safe_open(folder / BLOCK_FILE, framework="pt") as file:
        return any(name.endswith(f".{_LAST[4]}") for name in file.keys())  # noqa: SIM118 - no mapping


def block_tensors(name: str, blocks: Blocks) -> dict[str, torch.Tensor]:
    """Returns what is stored of a weight matrix of 4 or 6 bits.

    That is the lower 4 bits of codes, two to a byte, and the upper 2 where there are 6, four to a byte; scales and
    zeros as fp16.
    """
    lower = split_last(blocks.codes & 15, 2)
    tensors = {"codes": lower[..., 0] | (lower[..., 1] << 4), "scales": blocks.scales.half()}
    if blocks.bits == 4:
        zeros = blocks.zeros if blocks.zeros is not None else torch.zeros_like(blocks.scales)
        tensors[_LAST[4]] = zeros.half()
    else:
        upper = split_last(blocks.codes >> 4, 4)
        tensors[_LAST[6]] = upper[..., 0] | (upper[..., 1] << 2) | (upper[..., 2] << 4) | (upper[..., 3] << 6)
    return {f"{name}.{part}": tensor.contiguous() for part, tensor in tensors.items()}


class BlockFile:
    """The blocks of a folder, read as they are asked for. A folder without a file has none.

    Raises:
        OSError, safetensors.SafetensorError: The file cannot be read.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        file = folder / BLOCK_FILE
        self._file = stack.enter_context(safe_open(file, framework="pt")) if file.is_file() else None
        self._names = set(self._file.keys()) if self._file is not None else set()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._names)

    def bits_of(self, name: str) -> Bits | None:
        """Returns how many bits the blocks of a weight matrix have; None where there are none."""
        return next((bits for bits, last in _LAST.items() if f"{name}.{last}" in self._names), None)

    def take(self, name: str) -> Blocks:
        """Returns the blocks of a weight matrix.

        Raises:
            KeyError: There are none.
        """
        bits = self.bits_of(name)
        if self._file is None or bits is None:
            raise KeyError(name)
        packed, scales, last = (self._file.get_tensor(f"{name}.{part}") for part in ("codes", "scales", _LAST[bits]))
        codes = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)
        if bits == 4:
            return Blocks(4, codes, scales, last)
        upper = torch.stack([last >> 2 * number & 3 for number in range(4)], dim=-1).flatten(-2)
        return Blocks(6, codes | (upper << 4), scales, None)
