"""A model's weights as bf16 safetensors, for peers that read nothing else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from services.inference.engine.gguf_source import SOURCE_FILE
from services.inference.engine.weight_source import open_weights, read_itself

if TYPE_CHECKING:
    from pathlib import Path

_WEIGHTS = "model.safetensors"


def unpacked(folder: Path, target: Path) -> Path:
    """Returns a folder with safetensors: a model's own, or one that is written where that is not done yet.

    Args:
        folder: A model; its weights may be those of a `.gguf` file.
        target: Where they are unpacked to if they are.
    """
    if not read_itself(folder):
        return folder
    if not (target / _WEIGHTS).exists():
        target.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if file.name != SOURCE_FILE:
                shutil.copy(file, target / file.name)
        with open_weights(folder) as weights:
            tensors = {name: weights.take(name, torch.bfloat16) for name in weights.names}
        unfinished = target / f"{_WEIGHTS}.new"
        save_file(tensors, unfinished, metadata={"format": "pt"})
        unfinished.replace(target / _WEIGHTS)
    return target
