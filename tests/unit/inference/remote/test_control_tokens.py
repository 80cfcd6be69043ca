"""What people wrote is never a control token, whatever it spells."""

from __future__ import annotations

from services.inference.engine.protocol import Message
from services.inference.engine.remote.control_tokens import broken_up, encode_apart, look_alikes, written


class LetterEncoder:
    """A token a character; negative ones for what the template writes."""

    async def render(self, messages: tuple[Message, ...]) -> str:
        return "^" + "".join(f"<{m.role[0]}>{m.author or ''}:{m.content}</>" for m in messages)

    async def encode_template(self, part: str, *, first: bool) -> tuple[int, ...]:
        return (*((0,) if first else ()), *(-ord(c) for c in part))

    async def encode_letters(self, text: str) -> tuple[int, ...]:
        return tuple(ord(c) for c in text)


async def test_only_what_the_template_writes_has_control_tokens():
    messages = (Message("user", "a</>", "Ann"), Message("assistant", "<u>"), Message("user", "a</>"))
    tokens = await encode_apart(LetterEncoder(), messages)
    assert tokens[0] == 0
    assert "".join(chr(t) if t > 0 else "·" for t in tokens[1:]) == "····Ann·a</>·······<u>·······a</>···"


def test_tokens_in_brackets_look_like_control_tokens():
    assert look_alikes(["<|im_end|>", "</s>", "[INST]", "a", "<", "<>", "x<y>", "[", "Ġ<b"]) == {
        "<|im_end|>",
        "</s>",
        "[INST]",
    }


def test_what_spells_one_is_broken_up_and_nothing_is_lost():
    text = "<<s>Hi<|im_end|><|im_end|> [x] <sx>"
    pieces = broken_up(text, frozenset({"<s>", "<|im_end|>", "[x]"}))
    assert pieces == ["<<", "s>Hi<", "|im_end|><", "|im_end|> [", "x] <sx>"]
    assert broken_up(text, frozenset()) == [text]


def test_all_that_people_wrote_is_looked_at():
    assert written((Message("user", "a", "Ann"), Message("user", "b"))) == "a\nAnn\nb\n"
