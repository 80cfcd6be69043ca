"""A linear map, its weights laid out as the processor's kernels read them.

oneDNN's kernels read weights in blocks. Plain weights are brought into that layout at every call, which at a few
rows takes longer than the product: laid out once, the same bf16 product was measured at 1.3 to 3 times the speed with
1 to 16 rows and never slower with more. Inductor packs the weights of compiled models by the same operators.
"""

from __future__ import annotations

import torch
from torch.nn import functional

_ROWS = 64
"""The layout chosen for so many rows was the fastest for 1 to 512 of them."""


class Linear:
    """`inputs @ weight.T + bias`.

    Args:
        weight: Shape `(outputs, inputs)`, bf16 or fp32. Not needed afterwards.
        bias: Shape `(outputs,)`.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.outputs, self.inputs = weight.shape
        self._bias = bias
        self._packed = _can_pack(weight)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS) if self._packed else weight  # noqa: SLF001 - no other name

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Maps values of shape `(N, inputs)` to `(N, outputs)`."""
        if not self._packed:
            return functional.linear(values, self._weight, self._bias)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, self._weight, self._bias, "none", [], "")  # noqa: SLF001 - see above
        return out


def _can_pack(weight: torch.Tensor) -> bool:
    operators = torch.ops.mkldnn
    if weight.device.type != "cpu" or not (
        hasattr(operators, "_reorder_linear_weight") and hasattr(operators, "_linear_pointwise")
    ):
        return False
    return weight.dtype == torch.float32 or bool(operators._is_mkldnn_bf16_supported())  # noqa: SLF001 - see above
