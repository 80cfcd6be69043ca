"""Texts that are embedded and not stored."""

from __future__ import annotations

import numpy as np
import pytest
from grpc.aio import AioRpcError

from chatbot.v1 import memory_service_pb2 as pb


async def test_each_text_has_its_vector_of_unit_length_in_order(client):
    answer = await client.stub.EmbedTexts(pb.EmbedTextsRequest(texts=["one", "two", "one"]))
    rows = np.array([list(embedding.values) for embedding in answer.embeddings], np.float32)
    assert rows.shape == (3, client.embedder.dimension)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])
    assert answer.model == client.embedder.id
    assert answer.token_count == 3


@pytest.mark.parametrize("texts", [[], ["a"] * 65, ["a", " "], ["a\0b"], ["x" * 1_000_001]])
async def test_what_cannot_be_embedded_is_refused(client, texts):
    with pytest.raises(AioRpcError) as refused:
        await client.stub.EmbedTexts(pb.EmbedTextsRequest(texts=texts))
    assert refused.value.code().name == "INVALID_ARGUMENT"
