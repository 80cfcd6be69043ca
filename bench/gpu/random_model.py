"""Models with random weights, whose speed is that of real ones: no hub is asked for anything.

`python -m bench.gpu.random_model FOLDER`: writes one of gemma-3-1b's configuration.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

GEMMA_3_1B: dict[str, Any] = {
    "vocab_size": 262144,
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "num_hidden_layers": 26,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 32768,
    "sliding_window": 512,
    "layer_types": ["full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(26)],
}
"""What google/gemma-3-1b-it says of itself, but for end tokens: no reply ends early."""

_NO_TOKENS = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": 0}


def write(folder: Path, family: str, sizes: dict[str, Any], *, dtype: torch.dtype, spread: float) -> Any:
    """Writes a model folder and returns the model as transformers holds it.

    Args:
        folder: Where to.
        family: Its `model_type`.
        sizes: Of its configuration.
        dtype: Of the weights.
        spread: Their standard deviation.
    """
    config = CONFIG_MAPPING[family](**{**_NO_TOKENS, **sizes})
    make: Any = AutoModelForCausalLM  # untyped
    torch.manual_seed(3)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = make.from_config(config, dtype=dtype).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(folder)
    write_tokenizer(folder, int(sizes["vocab_size"]))
    return model


def write_tokenizer(folder: Path, size: int) -> None:
    """Writes a tokenizer of so many tokens that spell something: first the bytes, then words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:size]
    pieces = [*alphabet, *(f"Ġw{number}" for number in range(len(alphabet), size))]
    tokenizer = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8"
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]), "gemma3_text", GEMMA_3_1B, dtype=torch.bfloat16, spread=0.02)
