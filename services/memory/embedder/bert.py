"""A slim BERT sentence encoder (https://arxiv.org/abs/1810.04805, https://arxiv.org/abs/1908.10084).

For the family that the embedded model is of: a BERT encoder, the mean over its tokens, unit length. Gives what
sentence-transformers gives for the same folder, and is there at once: importing sentence-transformers takes 7 to
10 seconds of processor time, importing torch alone 2.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import load_file
from tokenizers import Tokenizer
from typing_extensions import override

from services.memory.embedder.bert_encoder import BertEncoder, BertParts
from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.linear import product_type
from services.memory.embedder.pieces import cut, embed_in_pieces
from services.memory.embedder.prompts import NONE, Prompts
from services.memory.embedder.russian import reads_russian

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

_MODULES = ["Transformer", "Pooling", "Normalize"]
_BATCH = 16


def is_slim_bert(folder: Path) -> bool:
    """Returns whether the folder's model is of the family that this module encodes."""
    try:
        modules = [m["type"].rsplit(".", 1)[-1] for m in json.loads((folder / "modules.json").read_text("utf-8"))]
        config = json.loads((folder / "config.json").read_text("utf-8"))
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    averaged = [name for name, on in pooling.items() if name.startswith("pooling_mode") and on is True]
    return (
        modules == _MODULES
        and config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and averaged == ["pooling_mode_mean_tokens"]
        and (folder / "model.safetensors").is_file()
        and (folder / "tokenizer.json").is_file()
    )


def read_folder(folder: Path) -> BertParts:
    """Reads a folder in the layout of sentence-transformers for which `is_slim_bert` holds.

    Raises:
        OSError, ValueError, KeyError, SafetensorError: It is broken.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights = {
        name.removeprefix("bert."): weight.float() for name, weight in load_file(folder / "model.safetensors").items()
    }
    words = weights["embeddings.word_embeddings.weight"]
    return BertParts(
        tokenizer=tokenizer,
        weights=weights,
        words=lambda ids: words.index_select(0, ids),
        normalize=str,
        dimension=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        eps=float(config["layer_norm_eps"]),
        longest=int(json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))["max_seq_length"]),
    )


class BertEmbedder(Embedder):
    """Encodes on the processor.

    Args:
        parts: What to encode with.
        id: See `Embedder`. Vectors of either precision are one model's: their cosine is above 0.9999.
        prompts: What goes before texts, before each piece of a long one.
        dtype: Precision of products; None: the fastest of this processor.

    Raises:
        KeyError, RuntimeError: A weight is missing or of another shape.
    """

    def __init__(
        self,
        parts: BertParts,
        id: str,  # noqa: A002 - the protocol's name
        prompts: Prompts = NONE,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.id = id
        self.dimension = parts.dimension
        self._normalize = parts.normalize
        self._prompts = prompts
        self._tokenizer = parts.tokenizer
        self._encoder = BertEncoder(parts, product_type() if dtype is None else dtype)
        self._places = parts.longest - 2  # the model's opening and closing token take two
        self._window = self._places - max(self._count(prompts.query), self._count(prompts.message))
        self.reads_russian = reads_russian(self._count)
        self.embed_queries(["A first text, so that what is missing shows now."])

    @override
    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return embed_in_pieces(texts, self._cut, lambda pieces: self._embed(pieces, self._prompts.message))

    @override
    def embed_counted(self, texts: Sequence[str]) -> Embedded:
        count = 0

        def embed(pieces: list[str]) -> NDArray[np.float32]:
            nonlocal count
            tokens = self._tokens(pieces, self._prompts.message)
            count += sum(map(len, tokens))
            return self._rows(tokens)

        return Embedded(embed_in_pieces(texts, self._cut, embed), count)

    @override
    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return embed_in_pieces(texts, self._cut, lambda pieces: self._embed(pieces, self._prompts.query))

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _cut(self, text: str) -> list[str]:
        return cut(
            self._normalize(text),
            self._window,
            lambda head: self._tokenizer.encode(head, add_special_tokens=False).offsets,
        )

    def _embed(self, pieces: list[str], prompt: str) -> NDArray[np.float32]:
        return self._rows(self._tokens(pieces, prompt))

    def _tokens(self, pieces: list[str], prompt: str) -> list[list[int]]:
        # Tokenizing a piece by itself may give a token more than it had in its text; the window holds.
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch([prompt + piece for piece in pieces])]
        return [ids if len(ids) <= self._places + 2 else [*ids[: self._places + 1], ids[-1]] for ids in tokens]

    def _rows(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        # Like lengths together: little is padded.
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        rows = np.empty((len(tokens), self.dimension), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            rows[chosen] = self._encoder.encode([tokens[i] for i in chosen]).numpy()
        return rows
