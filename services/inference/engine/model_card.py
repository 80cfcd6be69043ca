"""What a model's folder says about itself: the languages of its card's YAML front matter.

The form is Hugging Face's: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pathlib import Path

SOURCE_FILE = "source.json"
"""In the folder of a converted `.gguf` file: what it was converted from."""

_NOT_LANGUAGES = {"code", "multilingual"}


def declared_languages(folder: Path) -> tuple[str, ...]:
    """Returns the languages (BCP 47) that a model is declared for; empty where it says nothing readable."""
    return _languages(_front_matter(folder / "README.md").get("language")) or _languages(
        _source(folder).get("languages")
    )


def _languages(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    # YAML 1.1 reads the code of Norwegian, `no`, as false.
    words = ["no" if item is False else item for item in listed]
    return tuple(word for word in words if isinstance(word, str) and word not in _NOT_LANGUAGES)


def _front_matter(card: Path) -> dict[str, object]:
    try:
        parts = card.read_text(encoding="utf-8").split("---\n", 2)
        meta = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _source(folder: Path) -> dict[str, object]:
    try:
        source = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return source if isinstance(source, dict) else {}
