"""What some models want to read before a text, to know whether it is looked for or to be found.

Of a sentence-transformers folder its own configuration says so. The e5 family was published without that: its model
cards (https://huggingface.co/intfloat/multilingual-e5-small) ask for "query: " and "passage: ", and their retrieval
is markedly worse without.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

E5_FAMILY = re.compile(r"(^|[-_./])(multilingual-)?e5-(small|base|large)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is put before texts."""

    query: str = ""
    message: str = ""

    @property
    def recipe(self) -> str:
        """Part of an embedder's id: another prompt gives other vectors. Empty where there are none."""
        return f"/{self.query}|{self.message}" if self.query or self.message else ""


NONE = Prompts()
E5 = Prompts("query: ", "passage: ")


def prompts_of(model: str) -> Prompts:
    """Returns those that a model is known to want, by its name, id or folder."""
    # Instruction-tuned members of the family take a whole sentence before a query, and nothing before a passage.
    return E5 if E5_FAMILY.search(model) and "instruct" not in model.lower() else NONE


def prompts_of_folder(folder: Path) -> Prompts:
    """Returns those that a sentence-transformers folder names itself, else those that its model is known to want."""
    own = _read(folder / "config_sentence_transformers.json").get("prompts")
    if isinstance(own, dict):
        # In the order in which sentence-transformers looks for them.
        message = next((own[name] for name in ("document", "passage", "corpus") if own.get(name)), "")
        if own.get("query") or message:
            return Prompts(str(own.get("query") or ""), str(message))
    known = prompts_of(folder.name)
    return known if known != NONE else prompts_of(str(_read(folder / "config.json").get("_name_or_path", "")))


def _read(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
