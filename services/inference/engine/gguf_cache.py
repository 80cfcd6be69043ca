"""Makes a folder for a `.gguf` file once, with what is needed beside its weights, and keeps it in the data folder.

A folder is named for its file's SHA-256 and appears whole or not at all: it is written beside and renamed. A file
is hashed again only where its size or time of change differ from those noted when it was last found the same.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.inference.engine.gguf_source import GgufSource, Prepared, read_source, write_source
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.progress import Progress

    Prepare = Callable[[Path, Path], Prepared]

_MAGIC = b"GGUF"
_UNFINISHED = ".preparing-"
_UNFINISHED_KEPT_SECONDS = 3600.0
"""What an interrupted preparation left is removed when it is older than any takes."""
_CHUNK_BYTES = 4 * 1024 * 1024


def prepared(file: Path, data_dir: Path, progress: Progress, prepare: Prepare | None = None) -> Path:
    """Returns the folder that was made for a file, making it where that is not done yet.

    Args:
        file: An existing `.gguf` file.
        data_dir: Where such folders are kept, under `models/`.
        progress: Told what is going on.
        prepare: Writes what a file's model needs into an empty folder; by default `gguf_preparation.prepare`.

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
    source = read_source(folder)
    if source is not None and source.digest == digest and _is_whole(folder, source):
        size, mtime_ns = _stamp(file)
        write_source(folder, replace(source, path=str(file.resolve()), size=size, mtime_ns=mtime_ns))
        return folder
    progress.begin(f"preparing {file.name} (once)")
    try:
        _prepare_beside(file, folder, digest, prepare)
    except OSError as failure:
        raise StartupError(
            f"{file} cannot be prepared in {models} ({failure.strerror or type(failure).__name__})."
        ) from None
    return folder


def _prepare_beside(file: Path, folder: Path, digest: str, prepare: Prepare | None) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder.parent)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
    try:
        done = (prepare or _prepare)(file, unfinished)
        noted = GgufSource(
            str(file.resolve()), *_stamp(file), digest, done.languages, done.tensors, _weights_bytes(unfinished)
        )
        write_source(unfinished, noted)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _prepare(file: Path, folder: Path) -> Prepared:
    from services.inference.engine.gguf_preparation import prepare  # noqa: PLC0415 - takes seconds: only to prepare

    return prepare(file, folder)


def _unchanged(models: Path, file: Path) -> Path | None:
    size, mtime_ns = _stamp(file)
    for folder in models.glob(f"{_glob_escaped(file.stem)}-*"):
        source = read_source(folder)
        if (
            source is not None
            and (source.path, source.size, source.mtime_ns) == (str(file.resolve()), size, mtime_ns)
            and _is_whole(folder, source)
        ):
            return folder
    return None


def _is_whole(folder: Path, source: GgufSource) -> bool:
    return source.weights_bytes == _weights_bytes(folder)


def _glob_escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


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


def _remove_unfinished(models: Path) -> None:
    for left in models.glob(f"{_UNFINISHED}*"):
        if time.time() - left.stat().st_mtime > _UNFINISHED_KEPT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
