"""The blocks of a `.gguf` file, held against the reader of those who define the format."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from safetensors.torch import save_file

from services.inference.engine.block_file import BlockFile
from services.inference.engine.gguf_blocks import write_blocks
from services.inference.engine.gguf_rewrite import TypeNotReadable, rewrite

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 64
COLUMNS = 512
HEADS, KV_HEADS = 4, 2
BLOCK_BYTES = {"Q4_0": (32, 18), "Q4_1": (32, 20), "Q4_K": (256, 144), "Q6_K": (256, 210)}
SCALES = {"Q4_0": slice(2), "Q4_1": slice(4), "Q4_K": slice(4), "Q6_K": slice(208, 210)}
"""Bytes of a block that are fp16."""
PRODUCTS = {"Q4_K", "Q6_K"}
"""Types whose groups' scales are products."""
NAME = "model.layers.0.self_attn.q_proj.weight"
GGUF_NAME = "blk.0.attn_q.weight"


def _random_data(kind: str) -> np.ndarray:
    """Any bytes are codes; scales are of the sizes that models have."""
    values, size = BLOCK_BYTES[kind]
    generator = np.random.default_rng(5)
    data = generator.integers(0, 256, (ROWS, COLUMNS // values, size), dtype=np.uint8)
    halves = data[..., SCALES[kind]]
    scales = generator.uniform(0.001, 0.02, (*halves.shape[:-1], halves.shape[-1] // 2)).astype(np.float16)
    data[..., SCALES[kind]] = scales.view(np.uint8)
    return data.reshape(ROWS, -1)


def _write(file: Path, data: np.ndarray, kind: GGMLQuantizationType) -> None:
    writer = GGUFWriter(file, "llama")
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_tensor(GGUF_NAME, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pairs_apart(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """As transformers orders rows that ggml has rotated as neighbours."""
    return weight.view(heads, -1, 2, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


def _kept(folder: Path, kind: str, weight: torch.Tensor, data: np.ndarray) -> torch.Tensor | None:
    """Returns what the blocks that are kept beside a weight stand for; None where none are."""
    _write(folder / "model.gguf", data, GGMLQuantizationType[kind])
    save_file({NAME: weight.to(torch.bfloat16).contiguous()}, folder / "model.safetensors")
    write_blocks(folder / "model.gguf", folder)
    with ExitStack() as stack:
        file = BlockFile(folder, stack)
        return file.take(NAME).dequantized() if file else None


@pytest.fixture(params=BLOCK_BYTES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _stands_for(data: np.ndarray, kind: str) -> torch.Tensor:
    return torch.from_numpy(gguf.quants.dequantize(data, GGMLQuantizationType[kind]))


def test_blocks_stand_for_what_the_format_says(tmp_path: Path, kind: str):
    data = _random_data(kind)
    wanted = _stands_for(data, kind)
    kept = _kept(tmp_path, kind, wanted, data)
    assert kept is not None
    # Scales are rounded once to fp16, where they are products.
    torch.testing.assert_close(kept, wanted, rtol=0, atol=float(wanted.abs().max()) * 2**-10)
    assert kind in PRODUCTS or torch.equal(kept, wanted)


@pytest.mark.parametrize("heads", [HEADS, KV_HEADS])
def test_rows_come_in_the_order_that_the_weights_have(tmp_path: Path, kind: str, heads: int):
    data = _random_data(kind)
    wanted = _pairs_apart(_stands_for(data, kind), heads)
    kept = _kept(tmp_path, kind, wanted, data)
    assert kept is not None
    torch.testing.assert_close(kept, wanted, rtol=0, atol=float(wanted.abs().max()) * 2**-10)


def test_blocks_of_other_weights_are_left_out(tmp_path: Path, kind: str):
    data = _random_data(kind)
    other = _stands_for(data, kind).clone()
    other[7, 3] += 0.1 * float(other.abs().max())
    assert _kept(tmp_path, kind, other, data) is None


def test_blocks_of_another_shape_are_left_out(tmp_path: Path, kind: str):
    data = _random_data(kind)
    assert _kept(tmp_path, kind, _stands_for(data, kind)[: ROWS // 2], data) is None


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q5_0, GGMLQuantizationType.Q5_1])
def test_a_file_is_rewritten_where_transformers_reads_a_type_not(tmp_path: Path, kind: GGMLQuantizationType):
    weight = np.random.default_rng(6).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    data = gguf.quants.quantize(weight, kind)
    _write(tmp_path / "old.gguf", data, kind)
    rewrite(tmp_path / "old.gguf", tmp_path / "new.gguf")
    reader = GGUFReader(tmp_path / "new.gguf")
    assert reader.fields["llama.attention.head_count"].contents() == HEADS
    (tensor,) = reader.tensors
    assert (tensor.name, tensor.tensor_type.name) == (GGUF_NAME, "BF16")
    got = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    wanted = torch.from_numpy(gguf.quants.dequantize(data, kind)).to(torch.bfloat16).float()
    assert np.array_equal(got, wanted.numpy())


def test_what_is_read_already_is_rewritten_as_it_is(tmp_path: Path, kind: str):
    data = _random_data(kind)
    _write(tmp_path / "old.gguf", data, GGMLQuantizationType[kind])
    rewrite(tmp_path / "old.gguf", tmp_path / "new.gguf")
    (tensor,) = GGUFReader(tmp_path / "new.gguf").tensors
    assert tensor.tensor_type.name == kind
    assert np.array_equal(tensor.data, data)


def test_a_type_that_nobody_here_reads_is_named(tmp_path: Path):
    _write(tmp_path / "old.gguf", np.zeros((ROWS, COLUMNS), dtype=np.int8), GGMLQuantizationType.I8)
    with pytest.raises(TypeNotReadable, match="I8"):
        rewrite(tmp_path / "old.gguf", tmp_path / "new.gguf")
