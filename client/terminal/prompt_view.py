"""The prompt that a text would be answered from, part by part: `/context`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.terminal.recalled import role_name

if TYPE_CHECKING:
    from client.terminal.messages import Words
    from client.terminal.screen import Screen
    from client.values import Context

_INDENT = 4


def show_context(context: Context, screen: Screen, words: Words) -> None:
    """Prints each section with its tokens, word for word, and what all take together."""
    for section in context.sections:
        kind = words(f"kind_{section.kind.name.lower()}", speaker=role_name(section.role, words))
        screen.note(words("context_section", kind=kind, tokens=section.token_count))
        screen.say(section.content, indent=_INDENT)
    template = context.prompt_tokens - sum(section.token_count for section in context.sections)
    screen.note(
        words("context_total", tokens=context.prompt_tokens, context=context.context_tokens, template=max(template, 0))
    )
    if context.window_start_sequence > 1:
        screen.note(words("context_window", sequence=context.window_start_sequence))
