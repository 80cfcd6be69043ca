"""What goes in and comes out of `ChatClient`: frozen values, no protobuf.

Names and meanings are those of `protos/chatbot/v1`. Times are aware UTC datetimes, durations are seconds, counts
are tokens of the model that answers. In a sampling or recall configuration None means "as the server has it set".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Role(Enum):
    """Who a message speaks as."""

    UNSPECIFIED = 0
    SYSTEM = 1
    USER = 2
    ASSISTANT = 3


class FinishReason(Enum):
    """Why a reply ended."""

    UNSPECIFIED = 0
    EOS = 1
    STOP_STRING = 2
    MAX_TOKENS = 3
    CONTEXT_FULL = 4
    DEADLINE = 5
    CANCELLED = 6
    ENGINE_LOST = 7


class SectionKind(Enum):
    """What a section of a prompt holds."""

    UNSPECIFIED = 0
    SYSTEM = 1
    RECENT = 2
    RECALLED = 3
    MESSAGE = 4
    SUMMARY = 5


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How tokens are chosen."""

    temperature: float | None = None
    """0 is greedy; up to 5."""
    top_p: float | None = None
    """Keeps the most probable tokens whose probabilities reach this sum: over 0, up to 1."""
    top_k: int | None = None
    """Keeps this many most probable tokens; 0 keeps all."""
    min_p: float | None = None
    """Keeps tokens at least this share as probable as the most probable one: 0 to 1."""
    repetition_penalty: float | None = None
    """Over 0, up to 10; 1 is off."""
    frequency_penalty: float | None = None
    """-2 to 2; 0 is off."""
    presence_penalty: float | None = None
    """-2 to 2; 0 is off."""
    seed: int | None = None
    """Makes the reply reproducible on the same set-up: 0 to 2^64 - 1."""
    max_tokens: int | None = None
    """Most tokens to generate."""
    stop: tuple[str, ...] = ()
    """Strings that end the reply; up to 16 of 1 to 256 characters."""
    logprobs: int | None = None
    """How many alternatives to report with each token: 0 to 20."""


@dataclass(frozen=True, slots=True)
class RecallConfig:
    """How older messages are recalled into the prompt."""

    enabled: bool | None = None
    limit: int | None = None
    """Most messages to recall: up to 50."""
    max_tokens: int | None = None
    """Most tokens that recalled messages may take."""
    min_similarity: float | None = None
    """Lowest cosine similarity to recall at: -1 to 1."""
    min_word_share: float | None = None
    """Share of the words of what is said from which on a message is recalled whatever its similarity: 0 to 1."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply cost, in tokens."""

    prompt_tokens: int
    """Tokens of the prompt, cached ones included."""
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationTimings:
    """Where the time of one reply went, in seconds."""

    queue_seconds: float
    """From the request's arrival until the model took it up."""
    prefill_seconds: float
    """From then until the first token."""
    decode_seconds: float
    """From the first token to the last."""
    tokens_per_second: float
    """While decoding; 0 where fewer than two tokens were generated."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    name: str
    """Resource name, `conversations/{conversation}/messages/{message}`."""
    role: Role
    content: str
    create_time: datetime | None
    sequence: int
    """Place in its conversation, from 1."""
    author: str | None = None
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    usage: Usage | None = None
    reply_to: str = ""
    """Resource name of the message this one replies to; empty where it is no reply."""
    superseded: bool = False
    """Whether a regenerated reply took its place."""
    request_id: str = ""
    """Of the write that stored it."""

    @property
    def conversation(self) -> str:
        """Resource name of the conversation it belongs to."""
        return self.name.partition("/messages/")[0]


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is to be appended."""

    role: Role
    content: str
    author: str | None = None
    """Who spoke, where several people share a role: up to 200 characters."""
    create_time: datetime | None = None
    """When it was said; None: now."""
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    """Why it ended, where it is a model's. Only where it says so may `content` be empty."""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation."""

    name: str
    """Resource name, `conversations/{conversation}`."""
    title: str
    system_prompt: str
    create_time: datetime | None
    update_time: datetime | None
    last_sequence: int
    """Sequence of its last message; 0 where it has none."""
    message_count: int
    """How many messages lists show: superseded ones do not count."""
    window_start_sequence: int
    """Sequence of the oldest message that still stands in prompts word for word."""
    summary: str = ""
    """What was said up to `summary_through_sequence`, in a model's words; empty where nothing is summed up."""
    summary_through_sequence: int = 0
    """Sequence of the last message that the summary covers; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One message found."""

    message: Message
    score: float
    """What hits are ranked by, the sum of the three parts: the higher the better, comparable within one answer."""
    similarity: float
    """Cosine similarity to the query: -1 to 1; 0 where the embedder was not made for the query's language."""
    word_share: float = 0.0
    """Of the query's words, weighted by their rarity, the share that the message has: 0 to 1."""
    dense: float = 0.0
    """The part of meaning, in standard deviations over the user's messages."""
    lexical: float = 0.0
    """The part of words, on the same scale."""
    prior: float = 0.0
    """The part that holds whatever is asked: length and, where asked for, age."""
    before: tuple[Message, ...] = ()
    """Messages that stood before it, the oldest first, where asked for."""
    after: tuple[Message, ...] = ()
    """Messages that stood after it, the oldest first, where asked for."""


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Narrows a list or a search; what is not set does not narrow."""

    roles: tuple[Role, ...] = ()
    authors: tuple[str, ...] = ()
    start_time: datetime | None = None
    """Only messages created then or later."""
    end_time: datetime | None = None
    """Only messages created before then."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model that answers."""

    id: str
    weights: str
    """Weights as they are held: `bf16`, `fp32`, `int8`, `int4`, `bnb-int8` or `bnb-nf4`."""
    description: str
    """What it is good for, in a few words of English; may be empty."""
    languages: tuple[str, ...]
    """Languages it is declared for, BCP 47; empty: not declared."""
    context_tokens: int
    """Most tokens that prompt and reply can have together."""
    device: str
    parameters: int
    architecture: str
    default_sampling: SamplingConfig
    """What applies to a request that sets nothing."""


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """A reply is being generated, or replayed."""

    conversation: str
    """Resource name; of the new conversation where none was given."""
    message: Message
    """What was said, as stored."""
    model: str
    """Id of the model; empty in a replay."""
    sampling: SamplingConfig | None
    """What really applies; None in a replay."""
    prompt_tokens: int
    cached_tokens: int
    recalled: tuple[SearchHit, ...]
    """What was recalled into the prompt, in the order it stands there."""
    replayed: bool
    """Whether the outcome of an earlier call with this `request_id` is replayed."""


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """A reply has ended and is stored."""

    message: Message
    """The reply, as stored: text, finish reason and usage."""
    timings: GenerationTimings | None
    """None in a replay."""


@dataclass(frozen=True, slots=True)
class ContextSection:
    """A part of a prompt."""

    kind: SectionKind
    role: Role
    content: str
    token_count: int


@dataclass(frozen=True, slots=True)
class Context:
    """The prompt that a text would be answered from."""

    sections: tuple[ContextSection, ...]
    prompt_tokens: int
    context_tokens: int
    """Most tokens that prompt and reply can have together."""
    recalled: tuple[SearchHit, ...]
    window_start_sequence: int


@dataclass(frozen=True, slots=True)
class DeletedData:
    """How much was deleted."""

    conversation_count: int
    message_count: int
