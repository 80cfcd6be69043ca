"""`python -m services.inference`: runs the inference service until it is told to stop."""

from __future__ import annotations

from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc.server import run

if __name__ == "__main__":
    run("inference", InferenceSettings, InferenceService)
