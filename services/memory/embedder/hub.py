"""Where a hub model is taken from: the hub where it answers, else what was downloaded before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model at one commit. `source` is the hub id, or the folder of an earlier download."""

    source: str
    revision: str


def find_hub_model(hub_id: str) -> HubModel:
    """Returns the model's newest commit that can be had.

    The hub is asked once before anything is loaded: the libraries' own requests are repeated for over a minute
    where there is no network.

    Raises:
        Exception: Of any kind, where it can be had from neither place.
    """
    try:
        commit = HfApi().model_info(hub_id, timeout=_TIMEOUT_SECONDS).sha
    except Exception:  # no network, no such model, no permission: all mean the same here
        folder = Path(snapshot_download(hub_id, local_files_only=True))
        return HubModel(str(folder), folder.name)
    return HubModel(hub_id, commit or "main")
