"""A slim BERT sentence encoder (https://arxiv.org/abs/1810.04805, https://arxiv.org/abs/1908.10084).

For the family that the embedded model is of: a BERT encoder, the mean over its tokens, unit length. Gives what
sentence-transformers gives for the same folder, and is there at once: importing sentence-transformers takes 7 to
10 seconds of processor time, importing torch alone 2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from safetensors.torch import load_file
from tokenizers import Tokenizer
from typing_extensions import override

from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.pieces import cut, embed_in_pieces
from services.memory.embedder.prompts import NONE, Prompts
from services.memory.embedder.russian import reads_russian

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class BertParts:
    """A sentence encoder's weights and what goes with them.

    Attributes:
        tokenizer: Without padding and truncation.
        weights: By the names that Hugging Face's class has for them.
        words: Returns the word embeddings of token ids, `[*ids.shape, dimension]`.
        normalize: What a text goes through before it is cut into pieces and tokens.
        dimension: Length of a vector.
        layers: How many.
        heads: Of attention.
        eps: Of layer norms.
        longest: Most tokens at once, the opening and the closing one among them.
    """

    tokenizer: Tokenizer
    weights: Mapping[str, torch.Tensor]
    words: Callable[[torch.Tensor], torch.Tensor]
    normalize: Callable[[str], str]
    dimension: int
    layers: int
    heads: int
    eps: float
    longest: int


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
        words=lambda ids: words[ids],
        normalize=str,
        dimension=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        eps=float(config["layer_norm_eps"]),
        longest=int(json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))["max_seq_length"]),
    )


class BertEmbedder(Embedder):
    """Encodes in float32 on the processor.

    Args:
        parts: What to encode with.
        id: See `Embedder`.
        prompts: What goes before texts, before each piece of a long one.

    Raises:
        KeyError, RuntimeError: A weight is missing or of another shape.
    """

    def __init__(self, parts: BertParts, id: str, prompts: Prompts = NONE) -> None:  # noqa: A002 - the protocol's name
        self.id = id
        self.dimension = parts.dimension
        self._parts = parts
        self._prompts = prompts
        self._tokenizer = parts.tokenizer
        self._weights = parts.weights
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
            self._parts.normalize(text),
            self._window,
            lambda head: self._tokenizer.encode(head, add_special_tokens=False).offsets,
        )

    def _embed(self, pieces: list[str], prompt: str) -> NDArray[np.float32]:
        return self._rows(self._tokens(pieces, prompt))

    def _tokens(self, pieces: list[str], prompt: str) -> list[list[int]]:
        # Tokenizing a piece by itself may give a token more than it had in its text; the window holds.
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch([prompt + piece for piece in pieces])]
        return [ids if len(ids) <= self._places + 2 else [*ids[: self._places + 1], ids[-1]] for ids in tokens]

    @torch.inference_mode()
    def _rows(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        # Like lengths together: little is padded.
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        rows = np.empty((len(tokens), self.dimension), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            rows[chosen] = self._encode([tokens[i] for i in chosen]).numpy()
        return rows

    def _encode(self, tokens: list[list[int]]) -> torch.Tensor:
        """Returns `[batch, dimension]` unit rows for `[batch, length]` tokens."""
        length = max(len(ids) for ids in tokens)
        ids = torch.tensor([row + [0] * (length - len(row)) for row in tokens])
        real = torch.arange(length) < torch.tensor([[len(row)] for row in tokens])
        w = self._weights
        x = (
            self._parts.words(ids)
            + w["embeddings.position_embeddings.weight"][:length]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        mask = real[:, None, None, :]
        for layer in range(self._parts.layers):
            at = f"encoder.layer.{layer}"
            q, k, v = (self._split(self._linear(x, f"{at}.attention.self.{n}")) for n in ("query", "key", "value"))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
            x = self._norm(
                x + self._linear(attended, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm"
            )
            grown = F.gelu(self._linear(x, f"{at}.intermediate.dense"))
            x = self._norm(x + self._linear(grown, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        kept = x * real[..., None]
        return F.normalize(kept.sum(1) / real.sum(1, keepdim=True), dim=1)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weights: Any = self._weights
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], self._parts.eps)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """`[batch, length, dimension]` to `[batch, heads, length, dimension / heads]`."""
        return x.view(*x.shape[:2], self._parts.heads, -1).transpose(1, 2)
