"""Any model that sentence-transformers loads (https://www.sbert.net), with what each wants to read before a text."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging
from typing_extensions import override

from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.pieces import cut, embed_in_pieces
from services.memory.embedder.prompts import NONE, Prompts
from services.memory.embedder.russian import reads_russian

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_MOST_SPECIAL_TOKENS = 8
_BATCH = 16


class SentenceTransformerEmbedder(Embedder):
    """Encodes with a sentence-transformers model on the processor. Does not count the tokens of the model's own prompt.

    Args:
        source: A hub id, or a folder.
        id: See `Embedder`.
        prompts: What goes before texts; none: what the model itself names.
        threads: Processor threads that it may take, and all else that uses torch in this process.
        revision: Commit of a hub model.

    Raises:
        Exception: Of any kind, where the model cannot be had or is broken.
    """

    def __init__(
        self,
        source: str,
        id: str,  # noqa: A002 - the protocol's own name
        prompts: Prompts = NONE,
        threads: int = 1,
        revision: str | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self.id = id
        self._prompts = prompts
        # Hugging Face's tokenizers are told how to cut and pad at each call, and fail where two threads call at once.
        self._one_at_a_time = threading.Lock()
        quieten: Any = transformers_logging.disable_progress_bar  # untyped
        quieten()
        self._model = SentenceTransformer(source, device="cpu", revision=revision)
        self._tokenizer: Any = self._model.tokenizer
        self.reads_russian = reads_russian(lambda text: len(self._tokenizer.tokenize(text)))
        prompt_tokens = max(len(self._tokenizer.tokenize(prompt)) for prompt in (prompts.query, prompts.message))
        self._window = max(1, (self._model.max_seq_length or 512) - _MOST_SPECIAL_TOKENS - prompt_tokens)
        self.dimension = self.embed_queries(["A first text, so that what is missing shows now."]).shape[1]

    @override
    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embed(texts, self._model.encode_document, self._prompts.message)

    @override
    def embed_counted(self, texts: Sequence[str]) -> Embedded:
        with self._one_at_a_time:
            pieces = [self._prompts.message + piece for text in texts for piece in self._cut(text)]
            count = sum(len(self._tokenizer(piece)["input_ids"]) for piece in pieces)
        return Embedded(self.embed_messages(texts), count)

    @override
    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embed(texts, self._model.encode_query, self._prompts.query)

    def _embed(self, texts: Sequence[str], encode: Callable[..., Any], prompt: str) -> NDArray[np.float32]:
        # None of ours: sentence-transformers puts the model's own there.
        chosen = None if self._prompts == NONE else prompt

        def embed(pieces: list[str]) -> NDArray[np.float32]:
            rows = encode(pieces, prompt=chosen, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
            return np.asarray(rows, dtype=np.float32)

        with self._one_at_a_time:
            return embed_in_pieces(texts, self._cut, embed)

    def _cut(self, text: str) -> list[str]:
        return cut(text, self._window, self._offsets_of)

    def _offsets_of(self, text: str) -> list[tuple[int, int]]:
        if not getattr(self._tokenizer, "is_fast", False):
            # A tokenizer that does not tell where its tokens stand: as if each were one character.
            return [(i, i + 1) for i in range(len(text))]
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False)
        return list(encoded["offset_mapping"])
