"""What pip's output means: how far it is, and why it failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError"
    r"|ConnectionResetError|Connection (?:broken|refused|aborted)|Network is unreachable|Could not fetch URL",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PipFailure:
    """Why pip failed, in one sentence for the person."""

    sentence: str
    is_network: bool = False


class InstallProgress:
    """Reads pip's lines and tells how far the installation is: package k of n, and the bytes of a large one.

    Args:
        total: Packages in the locks, those for other platforms included; pip says first which ones it ignores.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen = 0
        self._name = ""
        self._bytes = ""

    def after(self, line: str) -> str:
        """Takes in pip's next line and returns what to show."""
        if line.startswith("Ignoring "):
            self._total -= 1
        elif found := re.match(r"(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)", line):
            self._seen += 1
            self._name, self._bytes = found[1], ""
        elif found := re.match(r"\s+Downloading .*\(([\d.]+ [kMG]?B)\)", line):
            self._bytes = f", {found[1]}"
        elif found := re.match(r"Progress (\d+) of (\d+)", line):
            done, whole = (int(number) / 1e6 for number in found.groups())
            if whole >= 1:
                self._bytes = f", {done:.0f} of {whole:.0f} MB"
        elif line.startswith("Installing collected packages"):
            return f"Unpacking {self._seen} packages (a minute or so)"
        if not self._seen:
            return "Reading the lock"
        return f"Downloading package {self._seen} of {self._total}: {self._name}{self._bytes}"


def why_pip_failed(lines: Sequence[str]) -> PipFailure:
    """Returns the reason that a failed run of pip gave."""
    text = "\n".join(lines)
    if "No space left on device" in text:
        return PipFailure("The disk is full: setting up needs several gigabytes.")
    if "DO NOT MATCH THE HASHES" in text:
        found = re.search(r"^\s+(\S+==\S+|\S+) from ", text, re.MULTILINE)
        what = found[1] if found else "a package"
        return PipFailure(
            f"What the package index delivered for {what} is not what the lock holds; nothing was installed."
        )
    if _NETWORK.search(text):
        return PipFailure(
            "The package index cannot be reached: check the network, and pip's proxy and index settings.",
            is_network=True,
        )
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return PipFailure(f"pip failed: {errors[-1] if errors else (lines or ['it gave no reason.'])[-1]}")
