"""The model's own tokenizer and chat template.

Text of a conversation never steers the model: where a message spells one of the model's control tokens
(`<|im_end|>`), it is encoded as the letters it is written in.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from services.inference.engine.piece_encoder import PieceEncoder, digest_of
from services.inference.engine.prefix_cache import common_prefix
from services.inference.engine.protocol import Message, PromptCount, PromptRefused, Role
from services.inference.engine.recently_used import RecentlyUsed
from services.inference.engine.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

_REMEMBERED = 16_384
"""Texts of which a number is kept: 5 MB of each kind."""
_UNLIKE_PROBES = ("0", "A")
_PROBE = "x"


class ChatTokenizer:
    """Encodes prompts. To be used by one thread at a time: the library's tokenizer keeps settings between calls.

    What it has encoded for a cache key it remembers for that key alone, so that a conversation's next turn costs what
    is new in it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        # Its file may ask for either.
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
        self.vocabulary = Vocabulary(tokenizer.backend_tokenizer)
        self._controls = tuple(t.content for t in tokenizer.added_tokens_decoder.values() if t.content.strip())
        self._overheads: dict[Role, int] = {}
        self._pieces = PieceEncoder(tokenizer.backend_tokenizer, self._drawn())
        self._spelling: RecentlyUsed[bytes, bool] = RecentlyUsed(_REMEMBERED)
        self._content_tokens: RecentlyUsed[bytes, int] = RecentlyUsed(_REMEMBERED)
        self._text_tokens: RecentlyUsed[bytes, int] = RecentlyUsed(_REMEMBERED)

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a turn by the tokenizer's and the chat template's account."""
        template = self._tokenizer.chat_template
        ends = set() if self._tokenizer.eos_token_id is None else {self._tokenizer.eos_token_id}
        for number, token in self._tokenizer.added_tokens_decoder.items():
            if token.content in _TURN_ENDS and isinstance(template, str) and token.content in template:
                ends.add(number)
        return frozenset(ends)

    def as_json(self) -> str:
        """Returns the tokenizer as its library writes it into `tokenizer.json`, without padding or truncation."""
        return self._tokenizer.backend_tokenizer.to_str()

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Returns the tokens of a text as it stands, after the model's opening token where it has one."""
        return tuple(self._tokenizer(text, add_special_tokens=True)["input_ids"])

    def count_texts(self, texts: Sequence[str], cache_key: str = "") -> list[int]:
        """Returns how many tokens `encode_text` returns for each."""

        def count(text: str) -> int:
            return len(self.encode_text(text))

        return [self._text_tokens.found(digest_of(cache_key, text), partial(count, text)) for text in texts]

    def encode_chat(self, messages: tuple[Message, ...], cache_key: str = "") -> tuple[int, ...]:
        """Returns the tokens of a conversation, the opening of the reply included.

        Raises:
            PromptRefused: The chat template cannot take these messages, or there is none.
        """
        if not self._tokenizer.chat_template:
            raise PromptRefused("cannot be rendered: the model has no chat template; send `text` instead")
        spelled = any(self._spells(text, cache_key) for m in messages for text in (m.content, m.author) if text)
        try:
            if spelled:
                return self._encoded_as_letters(messages)
            return tuple(self._pieces.encode(self._rendered(messages), cache_key))
        except TemplateError:
            raise PromptRefused(
                "cannot be rendered by the model's chat template: after at most one system message, user and "
                "assistant must take turns, the user first"
            ) from None

    def count_chat(self, messages: tuple[Message, ...], cache_key: str = "") -> PromptCount:
        """Counts a conversation's tokens: the total as `encode_chat` returns them, and each message's share.

        A message's share is the tokens of its content alone plus what the template adds around a message of its
        role, measured once. So it costs one rendering, however long the conversation is; where tokens grow
        together across the borders, the total is the exact number.

        Raises:
            PromptRefused: As `encode_chat`.
        """
        total = len(self.encode_chat(messages, cache_key))
        shares = [self._count_content(m.content, cache_key) + self._overhead(m.role) for m in messages]
        shares[-1] += max(0, total - self._around(messages[0].role) - sum(shares))
        return PromptCount(total, tuple(shares))

    def system_prefix(self, system: Message, cache_key: str = "") -> tuple[int, ...]:
        """Returns the tokens that every conversation with a system message begins with.

        Raises:
            PromptRefused: As `encode_chat`.
        """
        one, other = (self.encode_chat((system, Message("user", probe)), cache_key) for probe in _UNLIKE_PROBES)
        return one[: common_prefix(one, other)]

    def _drawn(self) -> str:
        """Returns a conversation as the chat template draws it; empty where there is none or it draws none."""
        if not self._tokenizer.chat_template:
            return ""
        try:
            return self._rendered((Message("user", _PROBE), Message("assistant", _PROBE)))
        except TemplateError:
            return ""

    def _rendered(self, messages: tuple[Message, ...]) -> str:
        conversation = [_as_dict(m) for m in messages]
        return str(self._tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))

    def _encoded_as_letters(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Encodes a conversation in which control tokens are spelled: only the template's own are any."""
        tokens = self._tokenizer.apply_chat_template(
            [_as_dict(m) for m in messages],
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=True,
        )
        return tuple(tokens)

    def _count_content(self, content: str, cache_key: str) -> int:
        def count() -> int:
            return len(self._tokenizer(content, add_special_tokens=False)["input_ids"])

        return self._content_tokens.found(digest_of(cache_key, content), count)

    def _spells(self, text: str, cache_key: str) -> bool:
        def spells() -> bool:
            # Of some models there are thousands.
            return any(control in text for control in self._controls)

        return self._spelling.found(digest_of(cache_key, text), spells)

    def _around(self, first: Role) -> int:
        """Tokens around all messages: the reply's opening, and what the template puts in front."""
        roles: tuple[Role, ...] = ("system", "user") if first == "system" else ("user",)
        return self._count_probe(*roles) - sum(self._overhead(role) + self._probe_tokens() for role in roles)

    def _overhead(self, role: Role) -> int:
        if role not in self._overheads:
            self._overheads[role] = self._measure(role)
        return self._overheads[role]

    def _measure(self, role: Role) -> int:
        probe = self._probe_tokens()
        if role == "assistant":
            return max(0, self._count_probe("user", "assistant") - self._count_probe("user") - probe)
        if role == "user":
            both = self._count_probe("user", "assistant", "user") - self._count_probe("user", "assistant")
            return max(0, both - probe)
        try:
            added = self._count_probe("system", "user") - self._count_probe("user") - probe
        except PromptRefused:
            added = 0
        # Where the template has a system message of its own, ours takes its place and seems to add less.
        return max(added, self._overhead("user"))

    def _count_probe(self, *roles: Role) -> int:
        return len(self.encode_chat(tuple(Message(role, _PROBE) for role in roles)))

    def _probe_tokens(self) -> int:
        return len(self._tokenizer(_PROBE, add_special_tokens=False)["input_ids"])


_TURN_ENDS = {"<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|eot|>", "<|end|>", "<|endoftext|>", "</s>", "<turn|>"}


def _as_dict(message: Message) -> dict[str, str]:
    rendered: dict[str, str] = {"role": message.role, "content": message.content}
    if message.author:
        rendered["name"] = message.author
    return rendered
