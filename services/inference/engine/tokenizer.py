"""The model's own tokenizer and chat template.

Text of a conversation never steers the model: where a message spells one of the model's control tokens
(`<|im_end|>`), it is encoded as the letters it is written in.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from services.inference.engine.prefix_cache import common_prefix
from services.inference.engine.protocol import Message, PromptCount, PromptRefused, Role
from services.inference.engine.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_UNLIKE_PROBES = ("0", "A")
_PROBE = "x"


class ChatTokenizer:
    """Encodes prompts. To be used by one thread at a time: the library's tokenizer keeps settings between calls."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self.vocabulary = Vocabulary(tokenizer.backend_tokenizer)
        self._controls = tuple(t.content for t in tokenizer.added_tokens_decoder.values() if t.content.strip())
        self._overheads: dict[Role, int] = {}

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
        plain = copy(self._tokenizer.backend_tokenizer)
        plain.no_padding()
        plain.no_truncation()
        return plain.to_str()

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Returns the tokens of a text as it stands, after the model's opening token where it has one."""
        return tuple(self._tokenizer(text, add_special_tokens=True)["input_ids"])

    def encode_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Returns the tokens of a conversation, the opening of the reply included.

        Raises:
            PromptRefused: The chat template cannot take these messages, or there is none.
        """
        if not self._tokenizer.chat_template:
            raise PromptRefused("cannot be rendered: the model has no chat template; send `text` instead")
        spelled = any(
            control in m.content or control in (m.author or "") for m in messages for control in self._controls
        )
        try:
            tokens = self._tokenizer.apply_chat_template(
                [_as_dict(m) for m in messages],
                add_generation_prompt=True,
                return_dict=False,
                sanitize_control_tokens=spelled,
            )
        except TemplateError:
            raise PromptRefused(
                "cannot be rendered by the model's chat template: after at most one system message, user and "
                "assistant must take turns, the user first"
            ) from None
        return tuple(tokens)

    def count_chat(self, messages: tuple[Message, ...]) -> PromptCount:
        """Counts a conversation's tokens: the total as `encode_chat` returns them, and each message's share.

        A message's share is the tokens of its content alone plus what the template adds around a message of its
        role, measured once. So it costs one rendering, however long the conversation is; where tokens grow
        together across the borders, the total is the exact number.

        Raises:
            PromptRefused: As `encode_chat`.
        """
        total = len(self.encode_chat(messages))
        contents = self._tokenizer([m.content for m in messages], add_special_tokens=False)["input_ids"]
        shares = [len(ids) + self._overhead(m.role) for ids, m in zip(contents, messages, strict=True)]
        shares[-1] += max(0, total - self._around(messages[0].role) - sum(shares))
        return PromptCount(total, tuple(shares))

    def system_prefix(self, system: Message) -> tuple[int, ...]:
        """Returns the tokens that every conversation with a system message begins with.

        Raises:
            PromptRefused: As `encode_chat`.
        """
        one, other = (self.encode_chat((system, Message("user", probe))) for probe in _UNLIKE_PROBES)
        return one[: common_prefix(one, other)]

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
