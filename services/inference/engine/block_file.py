"""4-bit blocks of a `.gguf` file, kept beside the weights that were converted from it.

The blocks are taken as they are. Those of tensors that the file holds in another form are not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from services.inference.engine.block_weights import Blocks

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

BLOCK_FILE = "weights.blocks"
"""Not named safetensors, though it is in their form: whoever reads those of a folder expects only a model in them."""
_PARTS = ("codes", "scales", "zeros")


def has_blocks(folder: Path) -> bool:
    """Whether a model folder has blocks of its own."""
    return (folder / BLOCK_FILE).is_file()


def block_tensors(name: str, blocks: Blocks) -> dict[str, torch.Tensor]:
    """Returns what is stored of a weight matrix: two codes to a byte, scales and zeros as fp16."""
    zeros = blocks.zeros if blocks.zeros is not None else torch.zeros_like(blocks.scales)
    codes = blocks.codes[:, 0::2] | (blocks.codes[:, 1::2] << 4)
    tensors = (codes.contiguous(), blocks.scales.half().contiguous(), zeros.half().contiguous())
    return {f"{name}.{part}": tensor for part, tensor in zip(_PARTS, tensors, strict=True)}


class BlockFile:
    """The blocks of a folder, read as they are asked for.

    Raises:
        OSError, safetensors.SafetensorError: The file cannot be read.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context(safe_open(folder / BLOCK_FILE, framework="pt"))
        self._names = set(self._file.keys())

    def take(self, name: str) -> Blocks | None:
        """Returns the blocks of a weight matrix; None where there are none."""
        if f"{name}.{_PARTS[0]}" not in self._names:
            return None
        packed, scales, zeros = (self._file.get_tensor(f"{name}.{part}") for part in _PARTS)
        codes = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)
        return Blocks(4, codes, scales, zeros)
