"""The door between the service and whatever generates: values, events and the `Engine` protocol.

Knows neither gRPC nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Role = Literal["system", "user", "assistant"]
Weights = Literal["bf16", "fp32", "int8", "int4", "bnb-int8", "bnb-nf4"]
Device = Literal["cpu", "cuda"]


class FinishReason(Enum):
    """Why a reply ended."""

    EOS = "eos"
    STOP_STRING = "stop_string"
    MAX_TOKENS = "max_tokens"
    CONTEXT_FULL = "context_full"
    """Also where the last token that fits is the last one asked for."""
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str
    author: str | None = None


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation, oldest message first, rendered by the model's chat template."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Plain text, tokenized as it stands with the model's opening token."""

    text: str


Prompt = ChatPrompt | TextPrompt


@dataclass(frozen=True, slots=True)
class UntokenizedPrompt:
    """A prompt for a server that does not tell its tokens."""

    prompt: Prompt
    estimated_tokens: int
    """How many it probably has at most."""


@dataclass(frozen=True, slots=True)
class PromptCount:
    """How many tokens a prompt has."""

    total: int
    per_message: tuple[int, ...] = ()
    """For a conversation: tokens that each message adds, its share of the template included."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the tokens of one reply are chosen. Ranges are those of the protocol's `SamplingConfig`."""

    temperature: float
    """0 is greedy."""
    top_p: float
    top_k: int
    """0 keeps all."""
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    seed: int
    max_tokens: int
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """Alternatives to report with each token; None reports nothing."""


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What applies where a request sets nothing."""

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One reply to generate."""

    prompt: tuple[int, ...]
    """Token ids: 1 to `ModelInfo.context_tokens` - 1 of them; none where the prompt is `untokenized`."""
    sampling: SamplingParams
    cache_key: str = ""
    """A prefix computed for one key is never reused for another."""
    system_key: str = ""
    """A system message computed for one key is reused for the same key alone; empty: for none."""
    system_tokens: int = 0
    """How many of the prompt's first tokens are its system message's."""
    deadline: float | None = None
    """When the reply must have ended, on the clock of `time.monotonic`."""
    arrived: float = 0.0
    """When the request came, on the same clock."""
    untokenized: UntokenizedPrompt | None = None
    """The prompt, for the engine whose `tokenize` gave it like this."""
    json_schema: str | None = None
    """The text of the JSON Schema that the reply must satisfy, one that `Engine.check_schema` takes; None for free
    text."""
    caller: str = ""
    """Whose it is, by an opaque name: those of different callers that wait take turns."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How probable one token was: before temperature, penalties and filters."""

    token_id: int
    """-1 where the server that generates does not tell."""
    token: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The model has taken the request up."""

    cached_tokens: int
    """Tokens of the prompt that were not computed again."""
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class Delta:
    """More of the reply: whole UTF-8, and the tokens it stands for."""

    text: str
    token_count: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The reply has ended."""

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    """Tokens generated, those that ended the reply included."""
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    stop: str = ""
    """The stop string that ended it, where one did."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second while decoding; 0 where fewer than two tokens were generated."""
        if self.completion_tokens < 2 or self.decode_seconds <= 0:
            return 0.0
        return (self.completion_tokens - 1) / self.decode_seconds


Event = Started | Delta | Finished


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model, as a user would want it described."""

    id: str
    weights: str
    """As `Weights`, or what the server that holds them says; empty where it says nothing."""
    device: Device | Literal["remote"]
    context_tokens: int
    """Most tokens that prompt and reply can have together."""
    vocabulary_size: int
    """Token ids are below this."""
    parameters: int
    """0 where not known."""
    architecture: str
    """Empty where not known."""
    description: str = ""
    languages: tuple[str, ...] = ()
    """BCP 47; empty where not declared."""
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is."""

    running: int
    """Requests in the batch."""
    kv_tokens_used: int
    """Tokens in the KV caches of running requests."""
    kv_tokens_capacity: int
    """0 where not known."""
    tokens_per_second: float
    """Tokens generated a second, over the last ten seconds."""
    queued: int = 0
    """Requests that it was given and has not taken up."""


class EngineDied(Exception):
    """The engine has stopped working and will not come back in this process."""


class PromptRefused(Exception):
    """The model cannot take this prompt; the message says why in words for the caller."""


class SchemaRefused(Exception):
    """No reply can be held to this JSON Schema; the message says why in words for the caller."""


class Engine(Protocol):
    """Generates replies with one model. Its methods are called on the event loop and never block it.

    Those of an engine that asks a server elsewhere also raise what `services.rpc.errors` has for it: the server is busy
    or cannot be reached, or has lost this one reply.
    """

    @property
    def model(self) -> ModelInfo:
        """The model."""

    async def tokenize(self, prompt: Prompt, cache_key: str = "") -> tuple[int, ...] | UntokenizedPrompt:
        """Returns the tokens of a prompt, its chat template applied and the reply's opening added.

        Where the tokens cannot be known, returns the prompt with an estimate of their number.

        Args:
            prompt: What to tokenize.
            cache_key: What of it was tokenized or counted before for the same key need not be again; what was for
                another always is.

        Raises:
            PromptRefused: The model's chat template cannot take these messages.
        """

    async def count(self, prompt: Prompt, cache_key: str = "") -> PromptCount:
        """Counts the tokens that `tokenize` would return, and each message's share of them.

        Args:
            prompt: What to count.
            cache_key: As for `tokenize`.

        Raises:
            PromptRefused: As `tokenize`.
        """

    async def count_texts(self, texts: list[str], cache_key: str = "") -> list[int]:
        """Counts many plain texts, each as `count` counts it."""

    async def check_schema(self, schema: str) -> None:
        """Tells whether replies can be held to a JSON Schema, given as text.

        Raises:
            SchemaRefused: They cannot.
        """

    async def system_tokens(self, prompt: ChatPrompt, key: str) -> int:
        """Counts the first tokens of what `tokenize` returns that are those of the system message, whatever follows it.

        Args:
            prompt: The whole conversation.
            key: A system message counted for one key is counted anew for another.

        Returns:
            0 where there is no system message, or where it cannot be told apart.
        """

    def generate(self, request: EngineRequest) -> AsyncGenerator[Event, None]:
        """Yields `Started` once, `Delta`s, `Finished` once. Closing the generator stops the model within one step.

        Raises:
            EngineDied: The engine stopped working before the reply ended.
            SchemaRefused: The reply went where following its schema takes more work than a step may take.
        """

    def load(self) -> Load:
        """Tells how busy the engine is."""

    async def died(self) -> None:
        """Returns once the engine has stopped working by itself; never where it goes on."""

    async def close(self) -> None:
        """Stops the engine and gives its memory back."""


@runtime_checkable
class Reachable(Protocol):
    """An engine whose model is elsewhere, so that it may be out of reach for a while and come back."""

    def changes(self) -> AsyncGenerator[bool, None]:
        """Yields False when the model goes out of reach and True when it is back. Begins with it in reach."""
