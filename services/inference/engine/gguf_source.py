"""What the folder made for a `.gguf` file notes of that file: which one it was, and where in it weights are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SOURCE_FILE = "source.json"
_FORM = 4
"""Of such a folder; one of another is made anew."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a weight is in the file, and how it lies there."""

    kind: str
    """ggml's name of the type: `Q4_K`."""
    shape: tuple[int, ...]
    offset: int
    """Of its first byte, from the beginning of the file."""
    bytes: int
    heads: int = 0
    """Its rows are those of so many heads, in the order in which ggml rotates them, by pairs. 0: they are in ours."""
    raised: bool = False
    """One is added to each value."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is noted of a preparation."""

    languages: tuple[str, ...]
    """That the file's metadata names."""
    tensors: dict[str, StoredTensor]
    """Which weights are read from the file itself, by the names of Hugging Face's class; empty where all were unpacked
    to safetensors."""


@dataclass(frozen=True, slots=True)
class GgufSource:
    """What a folder was made for."""

    path: str
    size: int
    mtime_ns: int
    digest: str
    """SHA-256."""
    languages: tuple[str, ...]
    tensors: dict[str, StoredTensor]
    """As `Prepared` has them."""
    weights_bytes: int
    """Of the folder's own safetensors."""


def read_source(folder: Path) -> GgufSource | None:
    """Returns what a folder notes; None where that is nothing, damaged, or of another form."""
    try:
        noted = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        form = noted.pop("form")
        tensors = {
            name: StoredTensor(**{**one, "shape": tuple(one["shape"])}) for name, one in noted["tensors"].items()
        }
        source = GgufSource(**{**noted, "tensors": tensors, "languages": tuple(noted["languages"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return source if form == _FORM else None


def write_source(folder: Path, source: GgufSource) -> None:
    """Notes it, whole or not at all."""
    written = folder / f"{SOURCE_FILE}.new"
    written.write_text(json.dumps({**asdict(source), "form": _FORM}, ensure_ascii=False), encoding="utf-8")
    written.replace(folder / SOURCE_FILE)
