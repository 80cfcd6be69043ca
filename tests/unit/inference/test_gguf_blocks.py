"""The blocks of a `.gguf` file, held against the reader of those who define the format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from services.inference.engine.gguf_blocks import FORM_OF, read_blocks
from services.inference.engine.gguf_rewrite import TypeNotReadable, rewrite

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 64
COLUMNS = 512
HEADS, KV_HEADS = 4, 2
BLOCK_BYTES = {kind: gguf.GGML_QUANT_SIZES[GGMLQuantizationType[kind]] for kind in FORM_OF}
SCALES = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0"), slice(2)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), slice(4)),
    "Q6_K": slice(208, 210),
}
"""Bytes of a block that are fp16."""
PRODUCTS = {"Q4_K", "Q5_K", "Q6_K"}
"""Types whose groups' scales are products."""
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


@pytest.fixture(params=BLOCK_BYTES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _stands_for(data: np.ndarray, kind: str) -> torch.Tensor:
    return torch.from_numpy(gguf.quants.dequantize(data, GGMLQuantizationType[kind]))


def test_blocks_stand_for_what_the_format_says(kind: str):
    data = _random_data(kind)
    blocks = read_blocks(kind, torch.from_numpy(data))
    assert blocks.form == FORM_OF[kind]
    assert torch.equal(blocks.dequantized(), _stands_for(data, kind))


def test_scales_are_rounded_once_where_they_are_products(kind: str):
    data = _random_data(kind)
    blocks = read_blocks(kind, torch.from_numpy(data))
    exact = all(
        torch.equal(numbers.half().float(), numbers.float())
        for numbers in (blocks.scales, blocks.zeros)
        if numbers is not None
    )
    assert exact == (kind not in PRODUCTS)


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


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K", "Q8_0"])
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
