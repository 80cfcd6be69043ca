"""Reads blocks of a `.gguf` file: those of 4 bits, what ggml calls Q4_0, Q4_1 and Q4_K, and those of 6, Q6_K."""

from __future__ import annotations

from contextlib import ExitStack
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

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
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
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(one, framework="pt")) for one in sorted(folder.glob("*.safetensors"))]
        wanted = {name: opened for opened in files for name in opened.keys()}  # noqa: SIM118 - no mapping
        if _HEAD in wanted:
            # An embedding is looked up, not multiplied with, unless it is the head as well.
            wanted.pop(_EMBEDDING, None)
        for name, opened in wanted.items():
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
    return blocks.rows(order)


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


def _read_q6_k(data: torch.Tensor) -> Blocks:
    """Sixteen groups of 16 share a scale, by which theirs, of 8 bits, are multiplied."""
    blocks = split_last(data, 210)
    # Twice 128: 64 bytes hold the lower bits of 64 in their lower halves, of 64 in their upper.
    packed = blocks[..., :128].reshape(*blocks.shape[:-1], 2, 64)
    lower = torch.stack((packed & 15, packed >> 4), dim=-2)
    packed = blocks[..., 128:192].reshape(*blocks.shape[:-1], 2, 32)
    upper = torch.stack([packed >> 2 * number & 3 for number in range(4)], dim=-2)
    scales = blocks[..., 192:208].contiguous().view(torch.int8)
    return Blocks(
        6,
        (lower.flatten(-3) | (upper.flatten(-3) << 4)).flatten(-2),
        (_halves(blocks[..., 208:]).float()[..., None] * scales).half().flatten(-2),
        None,
    )


_READERS: dict[GGMLQuantizationType, Callable[[torch.Tensor], Blocks]] = {
    GGMLQuantizationType.Q4_0: _read_q4_0,
    GGMLQuantizationType.Q4_1: _read_q4_1,
    GGMLQuantizationType.Q4_K: _read_q4_k,
    GGMLQuantizationType.Q6_K: _read_q6_k,
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
