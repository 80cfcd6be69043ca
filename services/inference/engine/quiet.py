"""Keeps libraries' progress bars and chatter off the standard error that our log lines go to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from transformers.utils import logging as transformers_logging

if TYPE_CHECKING:
    from collections.abc import Callable


def quieten_libraries() -> None:
    """Lets through errors only."""
    disable_progress_bar: Callable[[], None] = transformers_logging.disable_progress_bar
    disable_progress_bar()
    for name in ("transformers", "bitsandbytes", "accelerate", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
