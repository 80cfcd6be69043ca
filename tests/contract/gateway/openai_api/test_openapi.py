"""The published document, and whether the API keeps to it, whatever is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx

from tests.contract.gateway.house import House

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
"""Not that all that the schema allows is taken: what is known, but not supported, is refused by name."""


async def test_the_document_describes_every_endpoint(http: httpx.AsyncClient):
    document = (await http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/v1/models",
        "/v1/models/{model}",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/responses/{response_id}",
        "/v1/responses/{response_id}/input_items",
    }
    asked = document["components"]["schemas"]["ChatCompletionRequest"]["properties"]
    assert {"messages", "max_completion_tokens", "stream_options", "conversation"} <= asked.keys()


async def test_whatever_is_sent_is_answered_as_the_document_says(house: House, tmp_path: Path):
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{house.http_address}/openapi.json",
        "--url", house.http_address, "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing",
        "--max-examples", "6", "--seed", "1", "--generation-database", "none", "--request-timeout", "20",
        "--suppress-health-check", "all", "--no-color",
    ]  # fmt: skip
    # In a folder of its own: it leaves a cache where it runs.
    run = partial(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False)
    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
