"""A copy of a model whose replies end by their length alone, as peers that are told to ignore end tokens have it."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LEFT_OUT = "chat_template.jinja"
"""What a template writes at the end of a turn would end a reply too. Prompts are given as tokens here."""


def endless(folder: Path, target: Path) -> Path:
    """Makes it, and returns its folder.

    Args:
        folder: A model.
        target: Where the copy goes, on the same file system: weights take no room there. What there is already is
            removed.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in folder.iterdir():
        if file.name != _LEFT_OUT:
            os.link(file, target / file.name)
    _rewrite(target / "generation_config.json", {"eos_token_id": None})
    _rewrite(target / "tokenizer_config.json", {"eos_token": None, "chat_template": None})
    return target


def _rewrite(file: Path, values: dict[str, None]) -> None:
    said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    # Another file in its place: the one that is linked stays as it is.
    file.unlink(missing_ok=True)
    file.write_text(json.dumps({**said, **values}), encoding="utf-8")
