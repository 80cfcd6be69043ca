"""The real door on a real channel, with a scripted engine behind it or the real one on a tiny model."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from chatbot.v1 import inference_service_pb2_grpc
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc.channel import open_channel
from services.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from services.inference.engine.model_source import ModelFolder
    from services.inference.engine.protocol import Engine

    Serve = Callable[..., Awaitable[inference_service_pb2_grpc.InferenceServiceAsyncStub]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def start(
            engine: Engine, *, load: bool = True, **changed: object
        ) -> inference_service_pb2_grpc.InferenceServiceAsyncStub:
            settings = InferenceSettings(inference_grpc_port=0, data_dir=tmp_path, **changed)
            server = Server(InferenceService(settings, load_engine=lambda *_: engine), settings)
            await server.bind()
            stack.push_async_callback(server.stop, 0)
            if load:
                await server.start()
            channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{server.port}"))
            return inference_service_pb2_grpc.InferenceServiceStub(channel)

        yield start


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """A Llama of random weights that reads and writes bytes: a token each, and one that ends a reply."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from services.inference.engine.model_source import ModelFolder

    folder = tmp_path_factory.mktemp("tiny")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token=AddedToken("<end>", special=True))
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        # Wider than the vocabulary, as many a model is.
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(5)
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return ModelFolder("tiny", folder)


@pytest.fixture
def tiny_engine(tiny_model: ModelFolder, tmp_path: Path) -> Engine:
    from services.inference.engine.native import load_native_engine
    from services.inference.progress import Progress

    settings = InferenceSettings(inference_grpc_port=0, data_dir=tmp_path, weights="fp32", device="cpu")
    return load_native_engine(settings, tiny_model, Progress())
