"""Converts a `.gguf` file once to a folder of safetensors, kept under the data folder.

A folder is named for its file's SHA-256 and appears whole or not at all: it is written beside and renamed. A file
is hashed again only where its size or time of change differ from those noted when it was last found the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.inference.engine.model_card import SOURCE_FILE
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.progress import Progress

_MAGIC = b"GGUF"
_UNFINISHED = ".converting-"
_UNFINISHED_KEPT_SECONDS = 3600.0
"""What an interrupted conversion left is removed when it is older than any conversion takes."""


_CHUNK_BYTES = 4 * 1024 * 1024


_FORM = 3
"""Of what a conversion writes; a folder of another is converted anew."""


@dataclass(frozen=True, slots=True)
class GgufSource:
    """What a folder was converted from, and how big what came out was."""

    path: str
    size: int
    mtime_ns: int
    digest: str
    languages: list[str]
    weights_bytes: int
    """Total size of the folder's safetensors files."""
    form: int
    """`_FORM` when it was converted."""


def converted(
    file: Path, data_dir: Path, progress: Progress, convert: Callable[[Path, Path], None] | None = None
) -> Path:
    """Returns the folder that a file was converted to, converting it where that is not done yet.

    Args:
        file: An existing `.gguf` file.
        data_dir: Where converted models are kept, under `models/`.
        progress: Told what is going on.
        convert: Writes a file's model into an empty folder; by default transformers' conversion.

    Raises:
        StartupError: The file is no whole GGUF file, its architecture is not supported, or the folder is full.
    """
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            raise StartupError(f"{file} is no GGUF file: it does not begin with the letters GGUF.")
    models = data_dir / "models"
    known = _unchanged(models, file)
    if known is not None:
        return known
    progress.begin(f"checking {file.name}")
    digest = _digest(file, progress)
    folder = models / f"{file.stem}-{digest[:16]}"
    source = _read_source(folder)
    if source is not None and source.digest == digest and source.weights_bytes == _weights_bytes(folder):
        _write_source(folder, _describe(file, digest, source.languages, source.weights_bytes))
        return folder
    progress.begin(f"converting {file.name}, {file.stat().st_size / 1e6:.0f} MB (once)")
    try:
        _convert_beside(file, folder, digest, convert or _convert_by_transformers)
    except OSError as failure:
        raise StartupError(
            f"{file} cannot be converted into {models} ({failure.strerror or type(failure).__name__})."
        ) from None
    return folder


def _convert_beside(file: Path, folder: Path, digest: str, convert: Callable[[Path, Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder.parent)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
    try:
        convert(file, unfinished)
        languages = _languages(file) if convert is _convert_by_transformers else []
        _write_source(unfinished, _describe(file, digest, languages, _weights_bytes(unfinished)))
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _convert_by_transformers(file: Path, folder: Path) -> None:
    from services.inference.engine.gguf_conversion import convert  # noqa: PLC0415 - torch: only to convert

    convert(file, folder)


def _languages(file: Path) -> list[str]:
    from services.inference.engine.gguf_conversion import languages  # noqa: PLC0415 - torch: only to convert

    return languages(file)


def _unchanged(models: Path, file: Path) -> Path | None:
    size, mtime_ns = _stamp(file)
    for folder in models.glob(f"{_glob_escaped(file.stem)}-*"):
        source = _read_source(folder)
        if (
            source is not None
            and (source.path, source.size, source.mtime_ns) == (str(file.resolve()), size, mtime_ns)
            and source.weights_bytes == _weights_bytes(folder)
        ):
            return folder
    return None


def _glob_escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _describe(file: Path, digest: str, languages: list[str], weights_bytes: int) -> GgufSource:
    size, mtime_ns = _stamp(file)
    return GgufSource(str(file.resolve()), size, mtime_ns, digest, languages, weights_bytes, _FORM)


def _digest(file: Path, progress: Progress) -> str:
    size = file.stat().st_size
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            progress.reach(opened.tell(), size)
    return digest.hexdigest()


def _weights_bytes(folder: Path) -> int:
    return sum(part.stat().st_size for part in folder.glob("*.safetensors"))


def _read_source(folder: Path) -> GgufSource | None:
    try:
        source = GgufSource(**json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return source if source.form == _FORM else None


def _write_source(folder: Path, source: GgufSource) -> None:
    written = folder / f"{SOURCE_FILE}.new"
    written.write_text(json.dumps(asdict(source), ensure_ascii=False, indent=2), encoding="utf-8")
    written.replace(folder / SOURCE_FILE)


def _remove_unfinished(models: Path) -> None:
    for left in models.glob(f"{_UNFINISHED}*"):
        if time.time() - left.stat().st_mtime > _UNFINISHED_KEPT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
