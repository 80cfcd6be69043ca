r"""A lock: a file of pinned, hashed requirements as `uv pip compile` writes them, with our facts on top.

# size: 1234567 bytes on Linux x86-64 with Python 3.11
# torch builds: cp311-cp311-manylinux_2_28_x86_64

click==8.5.1 \
        --hash=sha256:… \
        --hash=sha256:…
# via
#   huggingface-hub
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>.+?))?(?: \\)?$")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_NEVER = "sys_platform == 'never'"


@dataclass(frozen=True, slots=True)
class Pin:
    """One locked package."""

    name: str
    version: str
    marker: str
    """When it is needed; empty: always."""
    hashes: tuple[str, ...]
    """`sha256:…` of each file that may be installed."""
    needed_by: tuple[str, ...]
    """Names of the packages that depend on it; empty: it was asked for by name alone."""

    @property
    def requirement(self) -> str:
        """The pin as a requirement, without its hashes."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")

    @property
    def is_never_needed(self) -> bool:
        """Whether no platform satisfies the marker."""
        return bool(self.marker) and all(_NEVER in branch for branch in self.marker.split(" or "))


@dataclass(frozen=True, slots=True)
class Lock:
    """A whole lock."""

    pins: tuple[Pin, ...]
    facts: tuple[tuple[str, str], ...] = ()
    """What its header states: `("size", "…")`."""

    def fact(self, name: str) -> str:
        """Returns what the header states under a name; empty where it states nothing."""
        return dict(self.facts).get(name, "")

    def pin(self, name: str) -> Pin:
        """Returns a package's first pin. Raises KeyError where it has none."""
        for pin in self.pins:
            if pin.name == name:
                return pin
        raise KeyError(name)


def parse_lock(text: str) -> Lock:
    """Reads a lock."""
    pins: list[Pin] = []
    facts: list[tuple[str, str]] = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", "\n" + text):
        lines = block.strip("\n").split("\n")
        found = _REQUIREMENT.match(lines[0])
        if found is None:
            facts += [(n, v) for n, v in re.findall(r"^# ([a-z ]+): (.+)$", block, re.MULTILINE)]
            continue
        via = [line.strip().removeprefix("#").strip().removeprefix("via ") for line in lines if "#" in line]
        pins.append(
            Pin(
                name=found["name"],
                version=found["version"],
                marker=found["marker"] or "",
                hashes=tuple(_HASH.findall(block)),
                needed_by=tuple(v for v in ", ".join(via).split(", ") if v != "via" and v and not v.startswith("-")),
            )
        )
    return Lock(tuple(pins), tuple(facts))


def render_lock(lock: Lock, comment: Iterable[str]) -> str:
    """Returns a lock's text: `comment` and the facts first, then each pin with its hashes and why it is there."""
    lines = [f"# {line}" for line in comment]
    lines += [f"# {name}: {value}" for name, value in lock.facts]
    for pin in lock.pins:
        lines += ["", " \\\n    ".join([pin.requirement, *(f"--hash={digest}" for digest in pin.hashes)])]
        if pin.needed_by:
            lines.append(f"    # via {', '.join(pin.needed_by)}")
    return "\n".join(lines) + "\n"


def select(lock: Lock, wanted: Sequence[str]) -> Lock:
    """Returns the part of a lock that some packages need: themselves and, all the way down, what they depend on.

    Raises:
        KeyError: A wanted package is not locked.
    """
    chosen = {lock.pin(name).name for name in wanted}
    while True:
        more = {p.name for p in lock.pins if p.name not in chosen and chosen.intersection(p.needed_by)}
        if not more:
            return Lock(tuple(p for p in lock.pins if p.name in chosen), lock.facts)
        chosen |= more


def requirement_names(text: str) -> list[str]:
    """Returns the package names of a list of requirements such as `runtime.in`, without versions and extras."""
    return [re.split(r"[\[=<>!~; ]", line, maxsplit=1)[0] for line in text.splitlines() if line[:1].isalnum()]
