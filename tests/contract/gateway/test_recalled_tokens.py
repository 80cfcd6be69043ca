"""What recalled messages take is what the prompt grows by, also with models that begin every text with a token."""

import pytest

from chatbot.v1 import chat_service_pb2 as chat_pb
from services.inference.engine.fake import FakeEngine
from services.inference.engine.protocol import ChatPrompt, Prompt
from tests.contract.gateway.house import House


class OpeningEngine(FakeEngine):
    """Begins every text with a token, as Gemma and Llama do."""

    async def tokenize(self, prompt: Prompt, cache_key: str = "") -> tuple[int, ...]:
        tokens = await super().tokenize(prompt, cache_key)
        return tokens if isinstance(prompt, ChatPrompt) else (0, *tokens)


@pytest.fixture
def engine() -> FakeEngine:
    return OpeningEngine()


async def test_no_quote_is_counted_with_the_token_that_a_text_by_itself_begins_with(house: House):
    await house.say("I grow tomatoes.")
    shown = await house.context("tomatoes")
    (recalled,) = [section for section in shown.sections if section.kind == chat_pb.ContextSection.KIND_RECALLED]
    assert "user: I grow tomatoes." in recalled.content
    # A token is a word, and so is the end of each line.
    assert recalled.token_count == len(recalled.content.split()) + len(recalled.content.split("\n"))
