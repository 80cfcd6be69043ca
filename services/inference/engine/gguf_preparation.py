"""Makes the folder for a `.gguf` file: configuration, tokenizer, and where in the file weights are.

Of a family that has a decoder of our own, weights stay in the file. Those of any other are unpacked to bf16
safetensors by transformers.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig, PreTrainedTokenizerFast
from transformers.integrations.gguf.reader import GgufHeader as TransformersHeader

from services.inference.engine.gguf_config import ConfigurationUnknown, read_config
from services.inference.engine.gguf_header import UNREADABLE, GgufHeader, read_header
from services.inference.engine.gguf_rewrite import TypeNotReadable, rewrite
from services.inference.engine.gguf_source import Prepared
from services.inference.engine.gguf_tensors import find_weights
from services.inference.engine.gguf_weights import can_read
from services.inference.engine.quiet import quieten_libraries
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from pathlib import Path

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)$")
"""How safetensors and tokenizers say why a file cannot be written: they raise no `OSError`."""


def prepare(file: Path, folder: Path) -> Prepared:
    """Writes what a model needs beside its file, and returns what is to be noted of that.

    Raises:
        StartupError: The file is damaged, or its architecture or a type of its tensors is not supported.
        OSError: There is no room.
    """
    quieten_libraries()
    header = read_header(file)
    try:
        found = find_weights(header)
        config = read_config(header) if found else None
    except ConfigurationUnknown as unknown:
        raise StartupError(f"{file} cannot be used: its model has {unknown}, which is not supported.") from None
    except UNREADABLE:
        found = config = None
    try:
        if found is None or config is None:
            _unpack(header, folder)
            return Prepared(header.languages, {})
        _check_types(header)
        config.save_pretrained(folder)
        GenerationConfig.from_model_config(config).save_pretrained(folder)
        _tokenizer(file).save_pretrained(folder)
    except (ValueError, KeyError, NotImplementedError):
        raise StartupError(
            f"{file} cannot be used: its architecture, {header.architecture}, is not supported."
        ) from None
    except TypeNotReadable as kind:
        raise StartupError(
            f"{file} cannot be used: it holds weights in {kind}, which is not supported; choose a file in Q4_K_M, "
            "Q4_0 or Q8_0."
        ) from None
    except Exception as failure:
        number = _SYSTEM_ERROR.search(str(failure))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
    return Prepared(header.languages, found)


def _tokenizer(file: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name)
    except Exception:  # What lies beneath raises no narrower one.
        raise StartupError(f"{file} cannot be used: its tokenizer is not supported, or damaged.") from None
    return tokenizer


def _check_types(header: GgufHeader) -> None:
    for kind in {tensor.kind for tensor in header.tensors}:
        if not can_read(kind):
            raise TypeNotReadable(kind)


def _unpack(header: GgufHeader, folder: Path) -> None:
    """Has transformers unpack a model."""
    readable = _readable(header.file, folder)
    tokenizer = AutoTokenizer.from_pretrained(readable.parent, gguf_file=readable.name)
    model = AutoModelForCausalLM.from_pretrained(
        readable.parent,
        gguf_file=readable.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if readable != header.file:
        readable.unlink()


def _readable(file: Path, folder: Path) -> Path:
    """Returns a file that transformers reads: this one, or a copy in the folder."""
    try:
        TransformersHeader.from_file(str(file))
    except ValueError:
        copy = folder / file.name
    else:
        return file
    rewrite(file, copy)
    return copy
