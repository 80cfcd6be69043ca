"""What a model's folder says about itself: languages of its card's YAML front matter, or of the `.gguf` file it is for.

The form is Hugging Face's: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from services.inference.engine.gguf_source import read_source

if TYPE_CHECKING:
    from pathlib import Path

_NOT_LANGUAGES = {"code", "multilingual"}


def declared_languages(folder: Path) -> tuple[str, ...]:
    """Returns the languages (BCP 47) that a model is declared for; empty where it says nothing readable."""
    source = read_source(folder)
    return _languages(_front_matter(folder / "README.md").get("language")) or _languages(
        list(source.languages) if source is not None else []
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
