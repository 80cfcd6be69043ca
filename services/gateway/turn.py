"""A turn that is to be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatbot.v1 import inference_service_pb2 as inference_pb
    from chatbot.v1 import memory_service_pb2 as memory_pb
    from chatbot.v1.chat_message_pb2 import ChatMessage
    from services.gateway.prompt_builder import BuiltPrompt


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that is about to be generated: everything about it is known and its message is stored."""

    user_id: str
    request_id: str
    state: memory_pb.Conversation
    """The conversation as it was before the message."""
    message: ChatMessage
    built: BuiltPrompt
    sampling: inference_pb.SamplingConfig
    form: inference_pb.ResponseFormat
    """Of the reply; empty: free text."""
    replaces_from: int | None
    """Sequence from which earlier replies are superseded; None: nothing is."""

    @property
    def conversation(self) -> str:
        """Resource name of the conversation."""
        return self.state.name
