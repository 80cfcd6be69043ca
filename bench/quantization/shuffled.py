"""Reorders a model's dimensions so that it computes the same, and 32 neighbours along a row are others than before.

A model that was unpacked from 4-bit blocks can be rounded to the same blocks again without loss, which tells nothing of
one that never had any. Shuffled, its groups mix weights of many blocks, so that rounding costs what it costs elsewhere.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from pathlib import Path

_SEED = 17
_KEPT = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_WEIGHTS = "model.safetensors"


def shuffled(folder: Path, target: Path) -> Path:
    """Writes the shuffled model, where that is not done yet, and returns its folder.

    Args:
        folder: A model of the Llama or Gemma family with one safetensors file and no biases.
        target: Where the shuffled one goes.
    """
    if (target / _WEIGHTS).exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    for name in _KEPT:
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = shuffle(load_file(folder / _WEIGHTS), config["num_attention_heads"], config["num_key_value_heads"])
    unfinished = target / f"{_WEIGHTS}.new"
    save_file(weights, unfinished, metadata={"format": "pt"})
    unfinished.replace(target / _WEIGHTS)
    return target


def shuffle(weights: dict[str, torch.Tensor], heads: int, kv_heads: int) -> dict[str, torch.Tensor]:
    """Returns the weights of a model that computes the same.

    The hidden dimension, each MLP's and each head's values are put in a random order, wherever they are written and
    wherever they are read.
    """
    generator = torch.Generator().manual_seed(_SEED)
    hidden = torch.randperm(weights["model.embed_tokens.weight"].shape[1], generator=generator)
    found: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        read = re.search(r"(embed_tokens|lm_head|[qkv]_proj|gate_proj|up_proj)\.weight$", name)
        if read:
            found[name] = weight[:, hidden]
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            found[name] = weight[hidden]
        else:
            # Norms of heads are not of the hidden dimension.
            found[name] = weight if "self_attn" in name else weight[hidden]
    for name in list(found):
        if name.endswith("down_proj.weight"):
            order = torch.randperm(found[name].shape[1], generator=generator)
            found[name] = found[name][:, order]
            for other in ("gate_proj", "up_proj"):
                writes = name.replace("down_proj", other)
                found[writes] = found[writes][order]
        elif name.endswith("o_proj.weight"):
            writes = name.replace("o_proj", "v_proj")
            size = found[writes].shape[0] // kv_heads
            order = torch.randperm(size, generator=generator)
            of_keys = torch.cat([order + size * head for head in range(kv_heads)])
            of_queries = torch.cat([order + size * head for head in range(heads)])
            found[name], found[writes] = found[name][:, of_queries], found[writes][of_keys]
    return {name: weight.contiguous() for name, weight in found.items()}
