"""The conversion itself: a `.gguf` file to a folder of bf16 safetensors, by transformers."""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

from services.inference.engine.gguf_blocks import write_blocks
from services.inference.engine.gguf_rewrite import TypeNotReadable, rewrite
from services.inference.engine.quiet import quieten_libraries
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from pathlib import Path

_UNREADABLE = (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError, struct.error)
"""What reading a damaged file raises, depending on where the damage is."""

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)$")
"""How safetensors and tokenizers say why a file cannot be written: they raise no `OSError`."""


def convert(file: Path, folder: Path) -> None:
    """Writes a model and tokenizer into a folder: weights unpacked to bf16, blocks of 4 and 6 bits as they are too.

    Raises:
        StartupError: The file is damaged, or its architecture or a type of its tensors is not supported.
        OSError: There is no room.
    """
    quieten_libraries()
    readable = _readable(file, folder)
    architecture = _checked(readable)
    try:
        tokenizer = AutoTokenizer.from_pretrained(readable.parent, gguf_file=readable.name)
        model = AutoModelForCausalLM.from_pretrained(
            readable.parent,
            gguf_file=readable.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
    except (ValueError, KeyError, NotImplementedError):
        raise StartupError(f"{file} cannot be used: its architecture, {architecture}, is not supported.") from None
    try:
        model.save_pretrained(folder)
        write_blocks(file, folder)
        tokenizer.save_pretrained(folder)
    except Exception as failure:
        number = _SYSTEM_ERROR.search(str(failure))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
    if readable != file:
        readable.unlink()


def _readable(file: Path, folder: Path) -> Path:
    """Returns a file that transformers reads: this one, or a copy in the folder."""
    try:
        GgufHeader.from_file(str(file))
    except _UNREADABLE:
        copy = folder / file.name
    else:
        return file
    try:
        rewrite(file, copy)
    except TypeNotReadable as kind:
        raise StartupError(
            f"{file} cannot be used: it holds weights in {kind}, which is not supported; choose a file in Q4_K_M, "
            "Q4_0 or Q8_0."
        ) from None
    except _UNREADABLE:
        raise StartupError(f"{file} is damaged: its header cannot be read; fetch the file again.") from None
    return copy


def languages(file: Path) -> list[str]:
    """Returns the languages that a file's metadata names."""
    metadata, _ = read_gguf_metadata(str(file), ("general.languages",))
    named = metadata.get("general.languages")
    return [word for word in named if isinstance(word, str)] if isinstance(named, list) else []


def _checked(file: Path) -> str:
    header = GgufHeader.from_file(str(file))
    needed = max((header.data_start + t.offset + t.nbytes for t in header.tensors), default=0)
    size = file.stat().st_size
    if size < needed:
        raise StartupError(f"{file} is cut off: it has {size} bytes of {needed}; fetch the file again.")
    return header.architecture
