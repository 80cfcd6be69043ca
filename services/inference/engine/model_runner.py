"""Runs the model over the tokens of a step, each sequence on a KV cache of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from services.inference.engine.prefix_cache import PrefixCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence


class ModelRunner:
    """One causal language model of transformers, and the KV caches of the sequences it works on.

    A batched runner can take its place: `run` gets all the work of a step at once.
    """

    def __init__(self, model: PreTrainedModel, prefix_cache_tokens: int) -> None:
        self._model = model
        self._caches: dict[int, DynamicCache] = {}
        self._prefixes = PrefixCache(prefix_cache_tokens)
        self.device = model.device

    def open(self, sequence: Sequence) -> int:
        """Makes room for a sequence and returns how many tokens of its prompt are in the KV cache already."""
        kept = self._prefixes.take(sequence.request.cache_key, sequence.request.prompt)
        if kept is None:
            self._caches[sequence.number] = DynamicCache(config=self._model.config)
            return 0
        self._caches[sequence.number] = kept.cache
        return kept.length

    def close(self, sequence: Sequence) -> None:
        """Gives back what `open` took. The prefix stays reusable while the prefix cache has room for it."""
        cache = self._caches.pop(sequence.number, None)
        if cache is not None:
            self._prefixes.keep(sequence.request.cache_key, tuple(sequence.tokens[: sequence.computed]), cache)

    @torch.inference_mode()
    def run(self, works: list[Work]) -> list[torch.Tensor]:
        """Computes a step.

        Returns:
            For each work the logits of the token after its last one, shape `(vocabulary,)`.
        """
        return [self._forward(work) for work in works]

    def _forward(self, work: Work) -> torch.Tensor:
        tokens = torch.tensor([work.sequence.tokens[work.begin : work.end]], dtype=torch.long, device=self.device)
        output = self._model(
            input_ids=tokens, cache=self._caches[work.sequence.number], use_cache=True, logits_to_keep=1
        )
        logits: torch.Tensor = output.logits[0, -1]
        return logits
