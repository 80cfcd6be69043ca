"""Reads the 4-bit blocks of a `.gguf` file: what ggml calls Q4_0, Q4_1 and Q4_K."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
import torch
from gguf import GGMLQuantizationType, GGUFReader
from safetensors import safe_open
from safetensors.torch import save_file

from services.inference.engine.block_file import BLOCK_FILE, block_tensors
from services.inference.engine.block_weights import Blocks, split_last

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CLOSE = 2**-7
"""How far a rebuilt weight may be from the converted one, as a share of its row's largest: bf16 rounds by half that."""


def write_blocks(file: Path, folder: Path) -> None:
    """Writes the blocks of those tensors of a file that are in the folder as well.

    Each is checked against the folder's own: where the two are not the same weights, it is left out.

    Args:
        file: A whole GGUF file.
        folder: What it was converted to, with one or several safetensors files.
    """
    reader = GGUFReader(file)
    stored = {tensor.name: tensor for tensor in reader.tensors if tensor.tensor_type in _READERS}
    architecture = reader.fields["general.architecture"].contents()
    names = _name_map(architecture, len(reader.tensors))
    heads = [_number(reader, f"{architecture}.attention.head_count{kind}") for kind in ("", "_kv")]
    found: dict[str, torch.Tensor] = {}
    for weights in sorted(folder.glob("*.safetensors")):
        with safe_open(weights, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                base = name.removesuffix(".weight")
                tensor = stored.get(f"{names.get_name(base)}.weight") if names is not None else None
                if tensor is not None:
                    data = torch.from_numpy(tensor.data.copy())
                    blocks = _matching(_READERS[tensor.tensor_type](data), opened.get_tensor(name), heads)
                    if blocks is not None:
                        found |= block_tensors(name, blocks)
    if found:
        save_file(found, folder / BLOCK_FILE)


def _matching(blocks: Blocks, weight: torch.Tensor, heads: list[int]) -> Blocks | None:
    """Returns blocks in the order of rows that a folder's weights have: ggml may order what is rotated otherwise."""
    if blocks.codes.shape != weight.shape:
        return None
    for ordered in (blocks, *(_pairs_apart(blocks, count) for count in heads if count)):
        difference = (ordered.dequantized() - weight.float()).abs().amax(dim=-1)
        if bool((difference <= _CLOSE * weight.float().abs().amax(dim=-1)).all()):
            return ordered
    return None


def _pairs_apart(blocks: Blocks, heads: int) -> Blocks:
    """Moves what ggml rotates as neighbours half a head apart, as transformers has it."""
    rows = len(blocks.codes)
    if rows % (2 * heads):
        return blocks
    order = torch.arange(rows).view(heads, rows // heads // 2, 2).transpose(1, 2).flatten()
    zeros = None if blocks.zeros is None else blocks.zeros[order]
    return Blocks(blocks.bits, blocks.codes[order], blocks.scales[order], zeros)


def _read_q4_0(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 18)
    scales = _halves(blocks[..., :2])
    return Blocks(4, _nibbles(blocks[..., 2:]), scales, (-8 * scales.float()).half())


def _read_q4_1(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 20)
    return Blocks(4, _nibbles(blocks[..., 4:]), _halves(blocks[..., :2]), _halves(blocks[..., 2:4]))


def _read_q4_k(data: torch.Tensor) -> Blocks:
    """Eight groups share two scales, by which theirs are multiplied; those are of 6 bits, 8 scales and 8 minima."""
    blocks = split_last(data, 144)
    scale, least = (_halves(blocks[..., begin : begin + 2]).float()[..., None] for begin in (0, 2))
    low, high, mixed = blocks[..., 4:8], blocks[..., 8:12], blocks[..., 12:16]
    scales = torch.cat((low & 63, (mixed & 15) | ((low >> 6) << 4)), dim=-1)
    leasts = torch.cat((high & 63, (mixed >> 4) | ((high >> 6) << 4)), dim=-1)
    # 32 bytes hold two groups: one in their lower halves, one in their upper.
    pairs = blocks[..., 16:].reshape(*blocks.shape[:-1], 4, 32)
    codes = torch.stack((pairs & 15, pairs >> 4), dim=-2)
    return Blocks(
        4,
        codes.flatten(-4),
        (scale * scales).half().flatten(-2),
        (-least * leasts).half().flatten(-2),
    )


_READERS: dict[GGMLQuantizationType, Callable[[torch.Tensor], Blocks]] = {
    GGMLQuantizationType.Q4_0: _read_q4_0,
    GGMLQuantizationType.Q4_1: _read_q4_1,
    GGMLQuantizationType.Q4_K: _read_q4_k,
}


def _nibbles(packed: torch.Tensor) -> torch.Tensor:
    """16 bytes a group: the first half of its codes in their lower halves, the second in their upper."""
    return torch.cat((packed & 15, packed >> 4), dim=-1).flatten(-2)


def _halves(data: torch.Tensor) -> torch.Tensor:
    return data.contiguous().view(torch.float16)[..., 0]


def _name_map(architecture: str, most_layers: int) -> Any:
    found = next((arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), None)
    return None if found is None else gguf.get_tensor_name_map(found, most_layers)


def _number(reader: GGUFReader, name: str) -> int:
    field = reader.fields.get(name)
    return int(field.contents()) if field is not None else 0
