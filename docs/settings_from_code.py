"""Writes the settings table of `README.md` from the settings classes, in their own words.

Run by `make docs`; a test fails where the table is not what this writes, or where `README.ru.md` names other
variables or defaults.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "gen")]

from services.gateway.settings import GatewaySettings  # noqa: E402 - the path above makes it importable
from services.inference.settings import InferenceSettings  # noqa: E402
from services.memory.settings import MemorySettings  # noqa: E402
from services.rpc.settings import CommonSettings, variable_name  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES: dict[str, type[CommonSettings]] = {
    "all": CommonSettings,
    "inference": InferenceSettings,
    "memory": MemorySettings,
    "gateway": GatewaySettings,
}

_TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    variable: str
    default: str
    service: str
    description: str


def rows() -> Iterator[Row]:
    """Yields every setting once: those that all services have, then each service's own."""
    for service, kind in SERVICES.items():
        for name, field in kind.model_fields.items():
            if service != "all" and name in CommonSettings.model_fields:
                continue
            default = "" if field.default in {PydanticUndefined, None, ""} else f"`{field.default}`"
            yield Row(variable_name(name), default, service, field.description or "")


def table() -> str:
    """Returns the table in Markdown."""
    lines = ["| variable | default | read by | |", "|---|---|---|---|"]
    lines += [f"| `{row.variable}` | {row.default} | {row.service} | {row.description} |" for row in rows()]
    return "\n".join(lines) + "\n"


def with_table(readme: str) -> str:
    """Returns a README with the table in its place."""
    return _TABLE.sub(lambda _: table(), readme, count=1)


def table_in(readme: str) -> str:
    """Returns the table that a README has."""
    found = _TABLE.search(readme)
    if found is None:
        raise SystemExit("the README has no <!-- settings --> … <!-- /settings -->")
    return found[0]


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
