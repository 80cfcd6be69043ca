"""A linear map of the encoder, its weights laid out as the processor's kernels read them.

Where the processor multiplies bf16 in pairs (AVX512_BF16, AMX), weights and inputs of products are bf16, sums are
float32: half the memory to read and twice the products an instruction. Elsewhere all is float32. Plain weights are
brought into that layout at every call; laid out once, a product of a query's dozen rows takes half as long.
"""

from __future__ import annotations

import torch
from torch.nn import functional

_ROWS = 64
"""The layout is chosen for so many rows: the fastest for one query, and for sixteen together."""


def product_type() -> torch.dtype:
    """Returns the precision in which this processor multiplies fastest without harm."""
    pairs = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001 - no other name
    return torch.bfloat16 if pairs and torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32  # noqa: SLF001 - see above


class Linear:
    """`inputs @ weight.T + bias`, and GELU of that where wanted.

    Args:
        weight: Shape `(outputs, inputs)`. Not needed afterwards.
        bias: Shape `(outputs,)`.
        dtype: Of products, as `product_type` gives it.
        gelu: Whether GELU follows.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype, *, gelu: bool = False) -> None:
        self._dtype = dtype
        self._gelu = gelu
        self._packed = hasattr(torch.ops.mkldnn, "_linear_pointwise")
        self._bias = bias.to(dtype)
        plain = weight.to(dtype).contiguous()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(plain, _ROWS) if self._packed else plain  # noqa: SLF001 - see above

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Maps values of shape `(N, inputs)` to `(N, outputs)`, which are of the precision of products."""
        values = values.to(self._dtype)
        if not self._packed:
            out = functional.linear(values, self._weight, self._bias)
            return functional.gelu(out) if self._gelu else out
        after, exact = ("gelu", "none") if self._gelu else ("none", "")
        mapped: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, self._weight, self._bias, after, [], exact)  # noqa: SLF001 - see above
        return mapped
