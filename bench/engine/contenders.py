"""How each contender is started: with as many threads as the machine has CPUs, and room for all streams at once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gguf import GGUFReader, LlamaFileType

from bench import GENERATED
from bench.engine.contender import InProcess, Served
from bench.engine.grpc_client import GrpcClient
from bench.engine.openai_client import OpenAiClient
from bench.engine.server_process import ServerProcess, free_port
from services.rpc.wait import Target, is_serving

if TYPE_CHECKING:
    from collections.abc import Mapping

_HERE = Path(__file__).parent

OURS = "ours"
PLAIN = "ours, nothing guessed"
"""Computes each token in a step of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """What contenders are started with."""

    model: str
    """As `CHATBOT_MODEL` names it."""
    folder: Path
    """The model, as safetensors where a peer reads those."""
    gguf: Path
    """The same model as one file, its weights in 4 bits."""
    data: Path
    """The service's data folder; logs go under it."""
    threads: int
    streams: int
    """Most replies at the same time."""
    context: int
    """Most tokens of prompt and reply together that any measure needs."""

    def log(self, name: str) -> Path:
        """Returns the file that a contender's log goes to."""
        return self.data / "logs" / f"{name}.log"


def ours(place: Place, settings: Mapping[str, str], name: str = OURS) -> Served:
    """Our service, as `python -m services.inference`.

    Args:
        place: What it is started with.
        settings: Variables of its environment that come before what the place says.
        name: As results call it.
    """
    port = free_port()
    environment = {
        "CHATBOT_INFERENCE_GRPC_PORT": str(port),
        "CHATBOT_MODEL": place.model,
        "CHATBOT_DATA_DIR": str(place.data),
        "CHATBOT_MAX_RUNNING_REQUESTS": str(place.streams),
        "CHATBOT_THREADS": str(place.threads),
        "PYTHONPATH": GENERATED,
        **settings,
    }
    process = ServerProcess(
        (sys.executable, "-m", "services.inference", "--exit-with-parent"), place.log(name), environment
    )
    address = f"127.0.0.1:{port}"
    target = Target(name, address, "")
    return Served(name, process, lambda: GrpcClient(address), lambda: is_serving(target), start_seconds=180)


def llama_cpp(place: Place, interpreter: Path) -> Served:
    """llama.cpp's server, on the 4-bit file."""
    port = free_port()
    program = str(_HERE / "llama_cpp_server.py")
    sizes = (str(port), str(place.threads), str(place.streams), str(place.context))
    process = ServerProcess((str(interpreter), program, str(place.gguf), *sizes), place.log("llama.cpp"))
    client = OpenAiClient(port, "model")
    kind = GGUFReader(place.gguf).fields.get("general.file_type")
    form = "" if kind is None else f" {LlamaFileType(kind.contents()).name.removeprefix('MOSTLY_')}"
    return Served(f"llama.cpp{form}", process, lambda: client, client.ready, start_seconds=120)


def vllm(place: Place, interpreter: Path) -> Served:
    """The server of vLLM, its CPU build, in bf16.

    Args:
        place: What it is started with.
        interpreter: Of an environment that has vLLM.
    """
    port = free_port()
    process = ServerProcess(
        (
            *(str(interpreter), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(place.folder), "--served-model-name", "model", "--dtype", "bfloat16"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--max-num-seqs", str(place.streams), "--max-model-len", str(place.context)),
        ),
        place.log("vllm"),
        {
            "VLLM_CPU_KVCACHE_SPACE": "4",
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{place.threads - 1}",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        },
    )
    client = OpenAiClient(port, "model")
    return Served("vLLM bf16", process, lambda: client, client.ready, start_seconds=300)


def transformers(place: Place, way: str) -> InProcess:
    """Transformers in process.

    Args:
        place: What it is started with.
        way: `generate` or `generate_batch`.
    """
    command = (sys.executable, "-m", "bench.engine.transformers_peer", way, str(place.folder), str(place.threads))
    return InProcess(f"{way} bf16", ServerProcess(command, place.log(way), piped=True))
