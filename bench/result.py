"""What one run measured, and the form it is kept in: JSON of a fixed schema."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SCHEMA = 1
"""Raised whenever a reader of older files would misread a newer one."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One number, seen once."""

    measure: str
    """What was done: `decode/16` is 16 simultaneous replies."""
    metric: str
    """What was read off: `tokens_per_second`."""
    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """The repetitions of one observation by one contender, in the order they were made."""

    contender: str
    measure: str
    metric: str
    unit: str
    values: tuple[float, ...]

    @property
    def summary(self) -> Summary:
        """The repetitions, summed up."""
        return Summary.of(self.values)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran."""

    cpu: str
    cores: int
    """CPUs that this process may use."""
    memory_bytes: int
    os: str


@dataclass(frozen=True, slots=True)
class Result:
    """One run."""

    question: str
    """Which command: `engine`."""
    date: str
    """When it began, ISO 8601, UTC."""
    commit: str
    """Of the checkout, with `+changes` where it had any that were not committed."""
    machine: Machine
    versions: dict[str, str]
    load_average: tuple[float, float, float]
    """Of the machine before the run: 1, 5 and 15 minutes."""
    workload: dict[str, Any]
    """Sizes and settings that were measured with."""
    series: tuple[Series, ...]
    peers: tuple[str, ...] = ()
    """Contenders that ours is held against."""
    missing: dict[str, str] = field(default_factory=dict)
    """Contenders that were not measured, each with the reason."""
    failures: dict[str, str] = field(default_factory=dict)
    """Measures of contenders that failed, `contender measure`, each with the reason."""

    def find(self, contender: str, measure: str, metric: str) -> Series | None:
        """Returns one series; None where it was not measured."""
        return next(
            (s for s in self.series if (s.contender, s.measure, s.metric) == (contender, measure, metric)), None
        )

    @property
    def contenders(self) -> tuple[str, ...]:
        """Who was measured, in order of appearance."""
        return tuple(dict.fromkeys(series.contender for series in self.series))

    def write(self, path: Path) -> None:
        """Writes the file that `read` reads, a summary beside the values of each series."""
        plain = {"schema": SCHEMA, **asdict(self)}
        for series, kept in zip(self.series, plain["series"], strict=True):
            kept["summary"] = asdict(series.summary)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def collect(observations: Iterable[tuple[str, Observation]]) -> tuple[Series, ...]:
    """Gathers observations, each with the contender it is of, to series."""
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for contender, seen in observations:
        values.setdefault((contender, seen.measure, seen.metric, seen.unit), []).append(seen.value)
    return tuple(Series(*key, tuple(those)) for key, those in values.items())


def read(path: Path) -> Result:
    """Reads a result back.

    Raises:
        ValueError: The file is of another schema.
    """
    plain = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no result of schema {SCHEMA}")
    del plain["schema"]
    series = tuple(
        Series(s["contender"], s["measure"], s["metric"], s["unit"], tuple(s["values"])) for s in plain.pop("series")
    )
    machine = Machine(**plain.pop("machine"))
    load, peers = plain.pop("load_average"), plain.pop("peers")
    return Result(**plain, machine=machine, load_average=(load[0], load[1], load[2]), series=series, peers=tuple(peers))
