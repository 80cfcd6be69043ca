"""Loads a model: its weights as asked for, its tokenizer, and what is known of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from services.inference.engine import catalog, control_group, load_failures, model_card
from services.inference.engine.block_model import BlockModel
from services.inference.engine.compiled_decoder import can_compile
from services.inference.engine.decoder import Decoder
from services.inference.engine.decoder_config import read_config
from services.inference.engine.decoder_model import load_block_model, load_decoder
from services.inference.engine.generation_config import GenerationDefaults
from services.inference.engine.protocol import Device, ModelInfo, SamplingDefaults, Weights
from services.inference.engine.quiet import quieten_libraries
from services.inference.engine.tokenizer import ChatTokenizer
from services.inference.engine.weight_source import has_4_bit_blocks
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.model_source import ModelFolder
    from services.inference.progress import Progress
    from services.inference.settings import InferenceSettings

_MOST_THREADS = 16
"""More than this slows a small model down."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run."""

    model: Decoder | BlockModel | PreTrainedModel
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
    stored = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    architecture = _architecture(folder, stored)
    device = _device(settings)
    config = _load_config(folder)
    decoder_config = read_config(config)
    weights = _weights(settings, stored, folder, device, decoder_config)
    progress.begin(f"loading {folder.id}")
    tokenizer = _load_tokenizer(folder)
    model = _load_weights(
        folder,
        decoder_config,
        weights,
        device,
        progress=progress,
        prequantized="quantization_config" in stored,
        int8_threshold=settings.bnb_int8_threshold,
    )
    entry = catalog.find_entry(folder.id)
    text_config = config.get_text_config(decoder=True)
    generation = GenerationDefaults(folder.path, text_config)
    info = ModelInfo(
        id=folder.id,
        weights=weights,
        device=device,
        context_tokens=_context_tokens(text_config, settings.context_tokens),
        vocabulary_size=min(int(text_config.vocab_size), tokenizer.vocabulary.size),
        parameters=model.parameters if isinstance(model, (Decoder, BlockModel)) else int(model.num_parameters()),
        architecture=architecture,
        description=entry.description if entry else "",
        languages=entry.languages if entry else model_card.declared_languages(folder.path),
        sampling=generation.sampling(entry.sampling if entry else SamplingDefaults()),
    )
    return LoadedModel(model, tokenizer, info, tokenizer.end_tokens | generation.end_tokens)


def _usable_cpus() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = control_group.cpu_limit()
    if limit is not None:
        # With more threads than that all are held still for the rest of each period, in the midst of a step.
        cpus = min(cpus, max(1, int(limit)))
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


def _weights(
    settings: InferenceSettings,
    stored: dict[str, Any],
    folder: ModelFolder,
    device: Device,
    decoder_config: DecoderConfig | None,
) -> Weights:
    quantized = stored.get("quantization_config")
    if isinstance(quantized, dict):
        held: Weights = "bnb-nf4" if quantized.get("load_in_4bit") else "bnb-int8"
        method = quantized.get("quant_method")
        if method != "bitsandbytes" or settings.weights not in {"auto", held}:
            raise StartupError(
                f"{folder.id} holds weights that were quantized already ({method}); choose the model they were made "
                f"from, and {variable_name('weights')}=bnb-int8 or bnb-nf4."
            )
        return held
    compiles = device == "cpu" and decoder_config is not None and can_compile(decoder_config)
    if settings.weights == "auto":
        if device == "cuda":
            return "bnb-int8"
        if not compiles:
            return "bf16"
        return "int4" if has_4_bit_blocks(folder.path) else "int8"
    if settings.weights in {"int8", "int4"} and not compiles:
        raise StartupError(
            f"{variable_name('weights')}={settings.weights} is for models of the Llama, Qwen and Gemma families on a "
            f"CPU, which {folder.id} on the {device} is not; set it to bnb-int8 or bf16."
        )
    return settings.weights


def _load_tokenizer(folder: ModelFolder) -> ChatTokenizer:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder.path)
    except (OSError, ValueError, KeyError, ImportError):
        tokenizer = None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise StartupError(f"{folder.id} cannot be used: it has no tokenizer.json that can be read.")
    return ChatTokenizer(tokenizer)


def _load_config(folder: ModelFolder) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder.path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise load_failures.damaged(folder) from None
    return config


def _load_weights(
    folder: ModelFolder,
    decoder_config: DecoderConfig | None,
    weights: Weights,
    device: Device,
    *,
    progress: Progress,
    prequantized: bool,
    int8_threshold: float,
) -> Decoder | BlockModel | PreTrainedModel:
    if decoder_config is not None and not weights.startswith("bnb"):
        if weights in {"int8", "int4"}:
            return load_block_model(folder, decoder_config, weights, progress)
        return load_decoder(folder, decoder_config, weights, progress, device)
    from services.inference.engine.transformers_model import load_transformers_model  # noqa: PLC0415 - takes seconds

    return load_transformers_model(folder, weights, device, prequantized=prequantized, int8_threshold=int8_threshold)


def _context_tokens(config: PretrainedConfig, cap: int | None) -> int:
    own = getattr(config, "max_position_embeddings", None)
    if own is None and cap is None:
        raise StartupError(f"The model does not say how long its context is; set {variable_name('context_tokens')}.")
    return min(int(n) for n in (own, cap) if n is not None)
