"""Loads a model: its weights as asked for, its tokenizer, and what is known of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from services.inference.engine import catalog, model_card
from services.inference.engine.protocol import Device, ModelInfo, SamplingDefaults, Weights
from services.inference.engine.quiet import quieten_libraries
from services.inference.engine.tokenizer import ChatTokenizer
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from services.inference.engine.model_source import ModelFolder
    from services.inference.progress import Progress
    from services.inference.settings import InferenceSettings

_MOST_THREADS = 16
"""More than this slows a small model down."""

_WARM_UP_TOKENS = 8

_OUTLIER_THRESHOLD = 6.0
"""Activations beyond it are multiplied in 16 bits (Dettmers et al. 2022, "LLM.int8()")."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run."""

    model: PreTrainedModel
    tokenizer: ChatTokenizer
    info: ModelInfo
    end_tokens: frozenset[int]
    """Tokens that end a reply."""


def load_model(settings: InferenceSettings, folder: ModelFolder, progress: Progress) -> LoadedModel:
    """Loads the model in a folder, as the settings ask for it. Takes seconds.

    Raises:
        StartupError: It cannot be loaded; the message says what to do.
    """
    quieten_libraries()
    torch.set_num_threads(settings.threads or _usable_cpus())
    config = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    architecture = _architecture(folder, config)
    device = _device(settings)
    weights = _weights(settings, config, folder, device)
    progress.begin(f"loading {folder.id}")
    tokenizer = _load_tokenizer(folder)
    model = _load_weights(folder, weights, device, prequantized="quantization_config" in config)
    _warm_up(model, weights, device)
    entry = catalog.find_entry(folder.id)
    vocabulary_size = int(model.config.get_text_config(decoder=True).vocab_size)
    info = ModelInfo(
        id=folder.id,
        weights=weights,
        device=device,
        context_tokens=_context_tokens(model, settings.context_tokens),
        vocabulary_size=min(vocabulary_size, tokenizer.vocabulary.size),
        parameters=int(model.num_parameters()),
        architecture=architecture,
        description=entry.description if entry else "",
        languages=entry.languages if entry else model_card.declared_languages(folder.path),
        sampling=_sampling_defaults(model, entry.sampling if entry else SamplingDefaults()),
    )
    return LoadedModel(model, tokenizer, info, tokenizer.end_tokens | _generation_ends(model))


def _usable_cpus() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cpus, _MOST_THREADS)


def _architecture(folder: ModelFolder, config: dict[str, Any]) -> str:
    architecture = config.get("model_type")
    if not isinstance(architecture, str) or architecture not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise StartupError(
            f"{folder.id} cannot be used: {architecture or 'an unnamed architecture'} is no language model that is "
            "supported here."
        )
    return architecture


def _device(settings: InferenceSettings) -> Device:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise StartupError(
            f"{variable_name('device')}=cuda: no NVIDIA GPU can be used here; set it to cpu, or install the driver "
            "and the build of torch with CUDA."
        )
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def _weights(settings: InferenceSettings, config: dict[str, Any], folder: ModelFolder, device: Device) -> Weights:
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        held: Weights = "nf4" if quantized.get("load_in_4bit") else "int8"
        method = quantized.get("quant_method")
        if method != "bitsandbytes" or settings.weights not in {"auto", held}:
            raise StartupError(
                f"{folder.id} holds weights that were quantized already ({method}); choose the model they were made "
                f"from, and {variable_name('weights')}=int8 or nf4."
            )
        return held
    if settings.weights == "auto":
        return "int8" if device == "cuda" else "bf16"
    return settings.weights


def _load_tokenizer(folder: ModelFolder) -> ChatTokenizer:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder.path)
    except (OSError, ValueError, KeyError, ImportError):
        tokenizer = None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise StartupError(f"{folder.id} cannot be used: it has no tokenizer.json that can be read.")
    return ChatTokenizer(tokenizer)


def _load_weights(folder: ModelFolder, weights: Weights, device: Device, *, prequantized: bool) -> PreTrainedModel:
    # The library gives the constructor no types.
    quantization: Callable[..., BitsAndBytesConfig] = BitsAndBytesConfig
    options: dict[str, Any] = {"dtype": torch.float32 if weights == "fp32" else torch.bfloat16}
    if weights in {"int8", "nf4"} or device == "cuda":
        options["device_map"] = {"": device}
    if not prequantized and weights == "int8":
        options["quantization_config"] = quantization(load_in_8bit=True, llm_int8_threshold=_OUTLIER_THRESHOLD)
    elif not prequantized and weights == "nf4":
        options["quantization_config"] = quantization(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    try:
        model, report = cast(
            "tuple[PreTrainedModel, dict[str, Any]]",
            AutoModelForCausalLM.from_pretrained(
                folder.path, use_safetensors=True, output_loading_info=True, **options
            ),
        )
    except (torch.OutOfMemoryError, MemoryError):
        raise _too_big(weights, device) from None
    except ImportError:
        raise _impossible(weights, device) from None
    except SafetensorError:
        raise _damaged(folder) from None
    except (OSError, ValueError, RuntimeError, KeyError) as failure:
        if weights in {"int8", "nf4"}:
            raise _impossible(weights, device) from failure
        raise _damaged(folder) from failure
    # The library makes up what a file lacks.
    if report["missing_keys"] or report["mismatched_keys"]:
        raise _damaged(folder)
    return model


@torch.inference_mode()
def _warm_up(model: PreTrainedModel, weights: Weights, device: Device) -> None:
    # The first run of a kernel is slow, and tells whether this machine has it.
    tokens = torch.zeros((1, _WARM_UP_TOKENS), dtype=torch.long, device=model.device)
    try:
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits
    except torch.OutOfMemoryError:
        raise _too_big(weights, device) from None
    except (RuntimeError, ValueError, AssertionError) as failure:
        raise _impossible(weights, device) from failure
    if not bool(torch.isfinite(logits).all()):
        raise StartupError("The model's weights are damaged: it computes values that are no numbers.")


def _damaged(folder: ModelFolder) -> StartupError:
    return StartupError(f"{folder.id} cannot be loaded: its files are damaged or incomplete; fetch them again.")


def _too_big(weights: Weights, device: Device) -> StartupError:
    return StartupError(
        f"The model in {weights} does not fit the memory of the {device}; set {variable_name('weights')} to int8 or "
        f"nf4, or {variable_name('model')} to a smaller one."
    )


def _impossible(weights: Weights, device: Device) -> StartupError:
    hint = "install bitsandbytes and accelerate in versions that support this device, or " if weights != "bf16" else ""
    return StartupError(
        f"{variable_name('weights')}={weights} cannot be computed on the {device} here; {hint}"
        f"set it to {'fp32' if weights == 'bf16' else 'bf16'}."
    )


def _context_tokens(model: PreTrainedModel, cap: int | None) -> int:
    own = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if own is None and cap is None:
        raise StartupError(f"The model does not say how long its context is; set {variable_name('context_tokens')}.")
    return min(int(n) for n in (own, cap) if n is not None)


def _generation_ends(model: PreTrainedModel) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset(ends if isinstance(ends, list) else [ends])


def _sampling_defaults(model: PreTrainedModel, fallback: SamplingDefaults) -> SamplingDefaults:
    """The values of the model's own generation config, where its makers say that it is to be sampled from."""
    config = model.generation_config
    if not config.do_sample:
        return fallback

    def own(name: str, otherwise: float) -> float:
        value = getattr(config, name, None)
        return otherwise if value is None else float(value)

    plain = SamplingDefaults(temperature=1.0, top_p=1.0)
    return SamplingDefaults(
        temperature=own("temperature", plain.temperature),
        top_p=own("top_p", plain.top_p),
        top_k=int(own("top_k", plain.top_k)),
        min_p=own("min_p", plain.min_p),
        repetition_penalty=own("repetition_penalty", plain.repetition_penalty),
    )
