"""A slim BERT sentence encoder (https://arxiv.org/abs/1810.04805, https://arxiv.org/abs/1908.10084).

For the family that the embedded model is of: a BERT encoder, the mean over its tokens, unit length. Gives what
sentence-transformers gives for the same folder, and is there at once: importing sentence-transformers takes 7 to
10 seconds of processor time, importing torch alone 2, which this needs neither.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from typing_extensions import override

from services.memory.embedder.bert_encoder import BertEncoder, BertParts, fits
from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.pieces import cut, embed_in_pieces
from services.memory.embedder.prompts import NONE, Prompts
from services.memory.embedder.russian import reads_russian

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.memory.embedder.bert_encoder import Precision

_MODULES = ["Transformer", "Pooling", "Normalize"]
_READABLE = {"F32", "F16", "I64"}
"""What numpy knows: weights, and the positions that older files count up."""


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
        and fits(config["hidden_size"], config["intermediate_size"], config["num_attention_heads"])
        and (folder / "tokenizer.json").is_file()
        and _is_readable(folder / "model.safetensors")
    )


def _is_readable(weights: Path) -> bool:
    try:
        with safe_open(weights, framework="numpy") as file:
            return {file.get_slice(name).get_dtype() for name in file.keys()} <= _READABLE  # noqa: SIM118 - no mapping
    except OSError:
        return False
    except SafetensorError:
        return True  # what is wrong with it is told when it is read


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
        name.removeprefix("bert."): weight.astype(np.float32, copy=False)
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    words = weights["embeddings.word_embeddings.weight"]
    return BertParts(
        tokenizer=tokenizer,
        weights=weights,
        words=lambda ids: words[ids],
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
        id: See `Embedder`. Vectors of either precision are one model's: their cosine is above 0.998.
        prompts: What goes before texts, before each piece of a long one.
        threads: Processor threads that one call may take.
        precision: Of products; None: the fastest of this processor.

    Raises:
        KeyError, ValueError: A weight is missing or of another shape.
        RuntimeError: LLVM cannot compile for this processor.
    """

    def __init__(
        self,
        parts: BertParts,
        id: str,  # noqa: A002 - the protocol's name
        prompts: Prompts = NONE,
        threads: int = 1,
        precision: Precision | None = None,
    ) -> None:
        self.id = id
        self.dimension = parts.dimension
        self._normalize = parts.normalize
        self._prompts = prompts
        self._tokenizer = parts.tokenizer
        self._encoder = BertEncoder(parts, threads, precision)
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
        return self._encoder.encode(tokens)
