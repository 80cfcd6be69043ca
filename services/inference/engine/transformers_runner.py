"""Runs a model class of transformers over the tokens of a step, each sequence on a KV cache of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from services.inference.engine.prefix_cache import PrefixCache, keys_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence


class TransformersRunner:
    """A `Runner` for every causal language model that the slim decoder is not made for.

    Only prefixes that can be cut back to any length are kept: those whose every layer attends to all tokens. A layer
    with a sliding window has forgotten what lies before it.
    """

    is_exact = False
    """As `Runner.is_exact`."""

    def __init__(self, model: PreTrainedModel, *, prefix_cache_tokens: int) -> None:
        self._model = model
        self._caches: dict[int, DynamicCache] = {}
        self._prefixes: PrefixCache[DynamicCache] = PrefixCache(prefix_cache_tokens)
        self.device = model.device

    def open(self, sequence: Sequence) -> int | None:
        """As `Runner.open`; there is always room."""
        conversation, _ = keys_of(sequence.request)
        kept = self._prefixes.take(conversation, sequence.request.prompt)
        if kept is None:
            self._caches[sequence.number] = DynamicCache(config=self._model.config)
            return 0
        if kept.length < kept.size:
            kept.cache.crop(kept.length - kept.size)
        self._caches[sequence.number] = kept.cache
        return kept.length

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        cache = self._caches.pop(sequence.number, None)
        if cache is not None and _croppable(cache):
            conversation, _ = keys_of(sequence.request)
            tokens = tuple(sequence.tokens[: sequence.computed])
            self._prefixes.keep(conversation, tokens, cache, room=len(tokens))

    def shut_down(self) -> None:
        """As `Runner.shut_down`: there is nothing to give back."""

    @torch.inference_mode()
    def run(self, works: list[Work]) -> torch.Tensor:
        """As `Runner.run`."""
        rows = [(work.completes, self._forward(work)) for work in works]
        wanted = [logits for completes, logits in rows if completes]
        return torch.stack(wanted) if wanted else torch.empty(0)

    def _forward(self, work: Work) -> torch.Tensor:
        tokens = torch.tensor([work.sequence.tokens[work.begin : work.end]], dtype=torch.long, device=self.device)
        output = self._model(
            input_ids=tokens, cache=self._caches[work.sequence.number], use_cache=True, logits_to_keep=1
        )
        logits: torch.Tensor = output.logits[0, -1]
        return logits


def _croppable(cache: DynamicCache) -> bool:
    # Exactly this class: those derived from it forget or keep more than keys and values.
    return all(type(layer) is DynamicLayer for layer in cache.layers)
