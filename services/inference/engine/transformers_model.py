"""Loads a model class of transformers. Importing it takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from services.inference.engine import load_failures
from services.inference.engine.weight_source import open_weights, read_itself

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PreTrainedModel

    from services.inference.engine.model_source import ModelFolder
    from services.inference.engine.protocol import Device, Weights

_WARM_UP_TOKENS = 8


def load_transformers_model(
    folder: ModelFolder, weights: Weights, device: Device, *, prequantized: bool, int8_threshold: float
) -> PreTrainedModel:
    """Loads a folder's model and runs it once.

    Args:
        folder: Where it is.
        weights: How it is held.
        device: Where it runs.
        prequantized: Whether the folder's weights are in 8 or 4 bits already, and say how.
        int8_threshold: With `bnb-int8`: columns of inputs with a value beyond it are multiplied in 16 bits (Dettmers
            et al. 2022, "LLM.int8()"); 0: none.

    Raises:
        StartupError: It cannot be loaded or computed; the message says what to do.
    """
    model = _load(folder, weights, device, prequantized=prequantized, int8_threshold=int8_threshold)
    _warm_up(model, weights, device)
    return model


def _load(
    folder: ModelFolder, weights: Weights, device: Device, *, prequantized: bool, int8_threshold: float
) -> PreTrainedModel:
    # The library gives the constructor no types.
    quantization: Callable[..., BitsAndBytesConfig] = BitsAndBytesConfig
    options: dict[str, Any] = {"dtype": torch.float32 if weights == "fp32" else torch.bfloat16}
    if weights in {"bnb-int8", "bnb-nf4"} or device == "cuda":
        options["device_map"] = {"": device}
    if not prequantized and weights == "bnb-int8":
        options["quantization_config"] = quantization(load_in_8bit=True, llm_int8_threshold=int8_threshold)
    elif not prequantized and weights == "bnb-nf4":
        options["quantization_config"] = quantization(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    state = _state(folder, options["dtype"]) if read_itself(folder.path) else None
    try:
        model, report = cast("tuple[PreTrainedModel, dict[str, Any]]", _from_pretrained(folder.path, state, options))
    except (torch.OutOfMemoryError, MemoryError):
        raise load_failures.too_big(weights, device) from None
    except ImportError:
        raise load_failures.impossible(weights, device) from None
    except SafetensorError:
        raise load_failures.damaged(folder) from None
    except (OSError, ValueError, RuntimeError, KeyError) as failure:
        if weights in {"bnb-int8", "bnb-nf4"}:
            raise load_failures.impossible(weights, device) from failure
        raise load_failures.damaged(folder) from failure
    # The library makes up what a file lacks.
    if report["missing_keys"] or report["mismatched_keys"]:
        raise load_failures.damaged(folder)
    return model


def _state(folder: ModelFolder, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Returns what a folder's `.gguf` file holds, unpacked."""
    try:
        with open_weights(folder.path) as source:
            return {name: source.take(name, dtype) for name in source.names}
    except (OSError, ValueError):
        raise load_failures.damaged(folder) from None


def _from_pretrained(folder: Path, state: dict[str, torch.Tensor] | None, options: dict[str, Any]) -> Any:
    if state is None:
        return AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, output_loading_info=True, **options)
    config = AutoConfig.from_pretrained(folder)
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return model_class.from_pretrained(None, config=config, state_dict=state, output_loading_info=True, **options)


@torch.inference_mode()
def _warm_up(model: PreTrainedModel, weights: Weights, device: Device) -> None:
    # The first run of a kernel is slow, and tells whether this machine has it.
    tokens = torch.zeros((1, _WARM_UP_TOKENS), dtype=torch.long, device=model.device)
    try:
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits
    except torch.OutOfMemoryError:
        raise load_failures.too_big(weights, device) from None
    except (RuntimeError, ValueError, AssertionError) as failure:
        raise load_failures.impossible(weights, device) from failure
    if not bool(torch.isfinite(logits).all()):
        raise load_failures.no_numbers()
