"""Downloads a model from the Hugging Face hub, or finds it among those downloaded before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from tqdm import tqdm  # type: ignore[import-untyped]  # has no types

from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from services.inference.progress import Progress

_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "README.md"]
_UNWANTED = ["*/*", "consolidated*"]  # the same weights once more, in other forms

_ANSWER_SECONDS = 5.0
"""Longest that the hub may take to answer; without an answer a downloaded copy is used."""


def download(model: str, progress: Progress) -> Path:
    """Returns the folder of a model of the hub, downloading what is missing of it.

    Raises:
        StartupError: There is no such model, it is gated, or the hub does not answer; the message says what to do.
    """
    progress.begin(f"downloading {model}")
    try:
        folder = snapshot_download(
            model,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            etag_timeout=_ANSWER_SECONDS,
            tqdm_class=_bar(progress),
        )
    except GatedRepoError:
        raise StartupError(
            f"{model} is gated: accept its licence at https://huggingface.co/{model}, then set HF_TOKEN to a token "
            "of that account (https://huggingface.co/settings/tokens)."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise StartupError(
            f"There is no model {model} on the Hugging Face hub, or it is private and HF_TOKEN is not a token that "
            f"may read it; set {variable_name('model')} to another hub id, a folder or a .gguf file."
        ) from None
    except LocalEntryNotFoundError:
        raise StartupError(
            f"The Hugging Face hub cannot be reached, and {model} is not among the models downloaded before; check "
            f"the network, or set {variable_name('model')} to a folder or a .gguf file."
        ) from None
    except HfHubHTTPError as failure:
        raise StartupError(
            f"The Hugging Face hub refused to hand out {model} (HTTP {failure.response.status_code})."
        ) from None
    except OSError as failure:
        raise StartupError(f"{model} cannot be stored ({failure.strerror or type(failure).__name__}).") from None
    return Path(folder)


def _bar(progress: Progress) -> type[tqdm]:
    """Returns the class of bars for a download to draw: they draw nothing, and tell `progress` of its bytes."""
    bars: list[Bar] = []

    class Bar(tqdm):  # type: ignore[misc]  # its base has no types
        """One of several that the hub's client makes over the same bytes; it sets totals as it learns of files."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.done = int(kwargs.get("initial") or 0)
            self._total: int | None = None
            if kwargs.get("unit") == "B":
                bars.append(self)
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

        @property
        def total(self) -> int | None:
            """Bytes that there are, as far as is known."""
            return self._total

        @total.setter
        def total(self, total: int | None) -> None:
            self._total = total
            _tell()

        def update(self, n: float | None = 1) -> None:
            self.done += int(n or 0)
            _tell()

    def _tell() -> None:
        if bars:
            farthest = max(bars, key=lambda bar: bar.done)
            progress.reach(farthest.done, farthest.total or 0)

    return Bar
