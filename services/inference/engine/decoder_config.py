"""What the slim decoder has to know of a model, read from its Hugging Face configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig

_GEMMAS = {"gemma2", "gemma3_text"}
_FAMILIES = {"llama", "mistral", "qwen2", "qwen3"} | _GEMMAS
_ACTIVATIONS = {"silu", "gelu_pytorch_tanh"}
_FIXED_ROPES = {"linear", "llama3", "yarn"}
"""Besides `default`: those whose frequencies do not change as a text grows."""


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding (Su et al. 2021, "RoFormer")."""

    inverse_frequencies: torch.Tensor
    """Float32, shape `(head_size / 2,)`."""
    scale: float
    """What sines and cosines are multiplied by."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """A decoder-only transformer of the Llama, Qwen or Gemma family."""

    hidden_size: int
    intermediate_size: int
    """Of the MLP."""
    heads: int
    kv_heads: int
    head_size: int
    norm_epsilon: float
    activation: str
    attention_scale: float
    """What products of queries and keys are multiplied by."""
    attention_cap: float | None
    """Gemma 2: products are squeezed to within ± this by `tanh`."""
    logits_cap: float | None
    embedding_scale: float
    norms_from_one: bool
    """Gemma: a norm's weights are held less one, and its product is rounded once."""
    norms_after: bool
    """Gemma: what attention and MLP give is normed before it is added."""
    heads_normed: bool
    """Qwen 3, Gemma 3: each head's queries and keys are normed."""
    tied_head: bool
    """The head is the embedding."""
    windows: tuple[int | None, ...]
    """For each layer how many tokens it attends to, its own included; None: all."""
    rope_of_layer: tuple[int, ...]
    """For each layer which of `ropes` it uses."""
    ropes: tuple[Rope, ...]

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.windows)


def read_config(config: PretrainedConfig) -> DecoderConfig | None:
    """Returns what the decoder needs; None where it is not made for this model."""
    family = config.model_type
    if family not in _FAMILIES:
        return None
    gemma = family in _GEMMAS
    activation = config.hidden_activation if gemma else config.hidden_act
    ropes = _read_ropes(config)
    if ropes is None or activation not in _ACTIVATIONS or getattr(config, "use_bidirectional_attention", False):
        return None
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kinds = list(ropes)
    return DecoderConfig(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=head_size,
        norm_epsilon=config.rms_norm_eps,
        activation=activation,
        attention_scale=(config.query_pre_attn_scalar if gemma else head_size) ** -0.5,
        attention_cap=getattr(config, "attn_logit_softcapping", None),
        logits_cap=getattr(config, "final_logit_softcapping", None),
        embedding_scale=config.hidden_size**0.5 if gemma else 1.0,
        norms_from_one=gemma,
        norms_after=gemma,
        heads_normed=family in {"qwen3", "gemma3_text"},
        tied_head=bool(config.tie_word_embeddings),
        windows=_windows(config),
        rope_of_layer=tuple(kinds.index(kind) if kind in ropes else 0 for kind in _layer_types(config)),
        ropes=tuple(ropes.values()),
    )


def _layer_types(config: PretrainedConfig) -> list[str]:
    if config.model_type == "mistral":
        kind = "full_attention" if config.sliding_window is None else "sliding_attention"
        return [kind] * config.num_hidden_layers
    return getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers


def _windows(config: PretrainedConfig) -> tuple[int | None, ...]:
    return tuple(config.sliding_window if kind == "sliding_attention" else None for kind in _layer_types(config))


def _read_ropes(config: PretrainedConfig) -> dict[str, Rope] | None:
    """Returns the ropes by the kind of layer they are for; under "" where there is one for all."""
    parameters: dict[str, Any] = config.rope_parameters
    by_kind = parameters if config.model_type == "gemma3_text" else {"": parameters}
    ropes: dict[str, Rope] = {}
    for kind in by_kind:
        rope = _read_rope(config, by_kind[kind], kind)
        if rope is None:
            return None
        ropes[kind] = rope
    return ropes


def _read_rope(config: PretrainedConfig, parameters: dict[str, Any], kind: str) -> Rope | None:
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        return None
    method = parameters["rope_type"]
    if method == "default":
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        powers = torch.arange(0, size, 2, dtype=torch.float) / size
        return Rope(1.0 / (parameters["rope_theta"] ** powers), 1.0)
    if method not in _FIXED_ROPES:
        return None
    compute: Callable[..., tuple[torch.Tensor, float]] = ROPE_INIT_FUNCTIONS[method]
    return Rope(*compute(config, torch.device("cpu"), **({"layer_type": kind} if kind else {})))
