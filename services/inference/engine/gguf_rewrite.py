"""Rewrites a `.gguf` file that holds tensors in types which transformers does not read.

llama.cpp's own mixtures have such: what its K types cannot hold, a row of 640 or 1152 weights say, is in Q5_0 there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from transformers.integrations.gguf.dequant import GGML_BLOCK

if TYPE_CHECKING:
    from pathlib import Path

_BF16 = GGMLQuantizationType.BF16
_PLAIN = {GGMLQuantizationType.F32, GGMLQuantizationType.F16, _BF16}
_WRITTEN_ANEW = {"general.architecture", "general.alignment"}
"""Fields that the writer sets itself."""


class TypeNotReadable(Exception):
    """A tensor's type is not known here either. The message is its name."""


def rewrite(file: Path, target: Path) -> None:
    """Writes the same model with the tensors that transformers does not read in bf16; the others stay as they are.

    Raises:
        TypeNotReadable: A type is not known.
        OSError, ValueError, KeyError, IndexError, struct.error: The file is damaged, or there is no room.
    """
    reader = GGUFReader(file)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name not in _WRITTEN_ANEW and not field.name.startswith("GGUF."):
            value_type = field.types[0]
            element = field.types[-1] if value_type == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), value_type, sub_type=element)
    readable = _PLAIN | set(GGML_BLOCK)
    for tensor in reader.tensors:
        kind, shape, size = tensor.tensor_type, tensor.data.shape, tensor.data.nbytes
        if kind not in readable:
            # In bytes, as blocks are.
            kind, shape, size = _BF16, (*shape[:-1], 2 * int(tensor.shape[0])), 2 * int(tensor.n_elements)
        writer.add_tensor_info(tensor.name, shape, tensor.data.dtype, size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for tensor in reader.tensors:
            readable_as_it_is = tensor.tensor_type in readable
            writer.write_tensor_data(tensor.data if readable_as_it_is else _as_bf16(tensor.data, tensor.tensor_type))
    finally:
        writer.close()


def _as_bf16(data: Any, kind: GGMLQuantizationType) -> Any:
    try:
        return gguf.quants.quantize(gguf.quants.dequantize(data, kind), _BF16)
    except NotImplementedError:
        raise TypeNotReadable(kind.name) from None
