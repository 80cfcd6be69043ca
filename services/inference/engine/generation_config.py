"""What a model's makers say of how to generate with it: the folder's `generation_config.json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from services.inference.engine.protocol import SamplingDefaults

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig


class GenerationDefaults:
    """Reads a folder; what it does not say about the end of a reply, the model's configuration does."""

    def __init__(self, folder: Path, config: PretrainedConfig) -> None:
        try:
            self._said: dict[str, Any] = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._said = {"eos_token_id": getattr(config, "eos_token_id", None)}

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a reply."""
        ends = self._said.get("eos_token_id")
        if ends is None:
            return frozenset()
        return frozenset(ends if isinstance(ends, list) else [ends])

    def sampling(self, otherwise: SamplingDefaults) -> SamplingDefaults:
        """Returns the makers' values where they say that the model is to be sampled from."""
        if not self._said.get("do_sample"):
            return otherwise
        plain = SamplingDefaults(temperature=1.0, top_p=1.0)
        return SamplingDefaults(
            temperature=self._own("temperature", plain.temperature),
            top_p=self._own("top_p", plain.top_p),
            top_k=int(self._own("top_k", plain.top_k)),
            min_p=self._own("min_p", plain.min_p),
            repetition_penalty=self._own("repetition_penalty", plain.repetition_penalty),
        )

    def _own(self, name: str, otherwise: float) -> float:
        value = self._said.get(name)
        return otherwise if value is None else float(value)
