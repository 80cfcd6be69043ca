"""Where a model's weights are read from: safetensors, or a `.gguf` file, whose blocks are used as they are.

Weights go by the names that Hugging Face's model class gives them: `model.layers.0.self_attn.q_proj.weight`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from services.inference.engine.block_forms import FORMS
from services.inference.engine.gguf_blocks import FORM_OF
from services.inference.engine.gguf_source import read_source
from services.inference.engine.gguf_weights import GgufWeights
from services.inference.engine.safetensors_weights import SafetensorsWeights

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    import torch

    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_weights import Blocks
    from services.inference.engine.token_table import TokenTable


class WeightSource(Protocol):
    """A model's weights, read as they are asked for. A name that there is not raises `KeyError`."""

    @property
    def names(self) -> Collection[str]:
        """What there is."""

    @property
    def total_bytes(self) -> int:
        """What all weights take where they are stored."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns a weight's shape."""

    def stored_bytes(self, name: str) -> int:
        """Returns what a weight takes where it is stored."""

    def take(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """Returns a weight."""

    def take_table(self, name: str, dtype: torch.dtype) -> TokenTable:
        """Returns a matrix whose rows are looked up."""

    def form_of(self, name: str) -> Form | None:
        """Returns the form of a matrix's blocks; None where it is stored otherwise."""

    def take_blocks(self, name: str) -> Blocks:
        """Returns the blocks of a matrix that is stored in such."""


def read_itself(folder: Path) -> bool:
    """Whether a folder's weights are those of the `.gguf` file that it was made for."""
    source = read_source(folder)
    return source is not None and bool(source.tensors)


@contextmanager
def open_weights(folder: Path) -> Iterator[WeightSource]:
    """Opens a model's weights: those of the `.gguf` file that its folder was made for, or the folder's own.

    Raises:
        OSError, ValueError, safetensors.SafetensorError: A file is missing, damaged, or another than it was.
    """
    source = read_source(folder)
    if source is not None and source.tensors:
        yield GgufWeights(source)
    else:
        with SafetensorsWeights(folder) as weights:
            yield weights


def has_4_bit_blocks(folder: Path) -> bool:
    """Whether linears of a folder's model are stored in blocks of 4 bits."""
    source = read_source(folder)
    tensors = source.tensors if source is not None else {}
    forms = [FORM_OF.get(one.kind) for name, one in tensors.items() if name.endswith("_proj.weight")]
    return any(form is not None and FORMS[form].bits == 4 for form in forms)
