"""What a `.gguf` file says before its weights: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

The readers of gguf and of transformers are not used for it: the one takes ten seconds for a vocabulary of Gemma's size,
the other refuses a file for one tensor in a type that it does not know, and neither is needed for more.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from pathlib import Path

UNREADABLE = (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError, struct.error)
"""What reading a damaged file raises, depending on where the damage is."""
_BEGIN = struct.Struct("<IIQQ")
"""Magic, version, number of tensors, number of values."""
_VERSIONS = {2, 3}
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_LANGUAGES = "general.languages"


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor of a file."""

    name: str
    kind: str
    """ggml's name of its type."""
    shape: tuple[int, ...]
    """As torch has it: outputs first."""
    offset: int
    """Of its first byte, from the beginning of the file."""
    bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a file says of itself."""

    file: Path
    architecture: str
    """ggml's name of it."""
    metadata: dict[str, Any]
    """Of arrays of strings, but for languages, only how many there are."""
    tensors: tuple[TensorPlace, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages it names."""
        named = self.metadata.get(_LANGUAGES)
        return tuple(word for word in named if isinstance(word, str)) if isinstance(named, list) else ()

    def has(self, name: str) -> bool:
        """Whether there is a tensor of that name."""
        return any(tensor.name == name for tensor in self.tensors)

    def tensor(self, name: str) -> TensorPlace:
        """Returns the tensor of that name.

        Raises:
            KeyError: There is none.
        """
        found = next((tensor for tensor in self.tensors if tensor.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def number(self, name: str, default: int | None = None) -> int:
        """Returns a whole number that is noted for the architecture.

        Raises:
            KeyError, TypeError, ValueError: There is none, and no default.
        """
        value = self.metadata.get(f"{self.architecture}.{name}", default)
        if value is None:
            raise KeyError(name)
        return int(value)


def read_header(file: Path) -> GgufHeader:
    """Reads a file's header.

    Raises:
        StartupError: It is damaged, cut off, or a part of a model; the message says what to do.
        OSError: The file cannot be read.
    """
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            header = _Reader(content).header(file)
        parts = int(header.metadata.get("split.count", 1))
    except UNREADABLE:
        raise StartupError(f"{file} is damaged: its header cannot be read; fetch the file again.") from None
    if parts > 1:
        raise StartupError(
            f"{file} is one of {parts} parts of a model; make them one by llama.cpp's llama-gguf-split --merge."
        )
    needed = max((tensor.offset + tensor.bytes for tensor in header.tensors), default=0)
    size = file.stat().st_size
    if size < needed:
        raise StartupError(f"{file} is cut off: it has {size} bytes of {needed}; fetch the file again.")
    return header


class _Reader:
    """Goes through a file from its first byte."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0

    def header(self, file: Path) -> GgufHeader:
        _, version, tensors, values = self._take(_BEGIN)
        if version not in _VERSIONS:
            raise ValueError(version)
        metadata: dict[str, Any] = {}
        for _ in range(values):
            name = self._string()
            metadata[name] = self._value(self._number("I"), keep=name == _LANGUAGES)
        found = [self._tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        begin = -(-self._at // alignment) * alignment
        places = tuple(TensorPlace(name, kind, shape, begin + at, size) for name, kind, shape, at, size in found)
        return GgufHeader(file, str(metadata["general.architecture"]), metadata, places)

    def _tensor(self) -> tuple[str, str, tuple[int, ...], int, int]:
        name = self._string()
        shape = tuple(self._number("Q") for _ in range(self._number("I")))
        kind = GGMLQuantizationType(self._number("I"))
        values, size = GGML_QUANT_SIZES[kind]
        return name, kind.name, shape[::-1], self._number("Q"), prod(shape) // values * size

    def _value(self, kind: int, *, keep: bool) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        element, count = self._number("I"), self._number("Q")
        if element == _STRING:
            if keep:
                return [self._string() for _ in range(count)]
            # Vocabularies: transformers reads those.
            for _ in range(count):
                self._pass_string()
            return count
        return list(self._take(struct.Struct(f"<{count}{_NUMBERS[element]}")))

    def _string(self) -> str:
        size = self._number("Q")
        begin = self._at
        self._at += size
        return self._content[begin : self._at].decode()

    def _pass_string(self) -> None:
        size = self._number("Q")
        self._at += size

    def _number(self, form: str) -> Any:
        return self._take(_FORMS[form])[0]

    def _take(self, form: struct.Struct) -> tuple[Any, ...]:
        values = form.unpack_from(self._content, self._at)
        self._at += form.size
        return values


_FORMS = {form: struct.Struct(f"<{form}") for form in _NUMBERS.values()}
