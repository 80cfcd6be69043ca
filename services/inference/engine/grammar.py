"""Replies that satisfy a JSON Schema: which tokens may come next, by the library llguidance.

A schema becomes a grammar over the model's own tokens. What the library cannot hold to is refused before anything is
generated, so what has ended is JSON that satisfies its schema.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from services.inference.engine.protocol import SchemaRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from llguidance._lib import JsonCompileOptions

_KEPT = 16
"""Compiled schemas that are kept, the last used ones: tens of kilobytes each, up to 40 MB where one is wild."""

_OPTIONS: JsonCompileOptions = {
    # At most one space, or one line break with what indents the next line: were it any number, a model that is most
    # sure of white space would write nothing else until its reply is cut.
    "whitespace_pattern": r"\x20|\x0A\x20{0,24}",
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,
    "coerce_one_of": False,
}
"""Over whatever a schema says itself under `x-guidance`."""

_LONGEST_REASON = 300
"""Characters of the library's account of what is wrong with a schema."""


class Grammars:
    """Compiles schemas for one model. On a thread of its own, so that no stream waits for a large one.

    Args:
        tokenizer: Returns the model's tokenizer as its library writes it into `tokenizer.json`. Called once, on that
            thread.
        end_tokens: Tokens that end a reply.
    """

    def __init__(self, tokenizer: Callable[[], str], end_tokens: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._compiler = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammar")
        # Only ever called on that thread, so that none is compiled twice.
        self._compiled = lru_cache(_KEPT)(self._compile)
        self._tokens = lru_cache(1)(self._read_tokens)

    def read_ahead(self) -> None:
        """Has the vocabulary read before the first schema comes: that keeps the interpreter for a while.

        0.2 s were seen for 49,152 tokens.
        """
        self._compiler.submit(self._tokens)

    async def matcher(self, schema: str) -> Matcher:
        """Returns what follows one reply through a schema.

        Raises:
            SchemaRefused: It is no schema, or one that cannot be held to.
        """
        return await asyncio.get_running_loop().run_in_executor(self._compiler, self._matcher, schema)

    def close(self) -> None:
        """Gives the thread back."""
        self._compiler.shutdown(wait=False)

    def _matcher(self, schema: str) -> Matcher:
        return Matcher(self._compiled(schema).deep_copy(), self._end_tokens)

    def _read_tokens(self) -> LLTokenizer:
        if not self._end_tokens:
            raise SchemaRefused("cannot be held to: the model has no token that ends a reply")
        try:
            return LLTokenizer(self._tokenizer(), eos_token=sorted(self._end_tokens), slices=LLTokenizer.json_slices())
        except ValueError:
            raise SchemaRefused("cannot be held to: the model's tokenizer is of a kind it is not known for") from None

    def _compile(self, schema: str) -> LLMatcher:
        tokens = self._tokens()
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_OPTIONS)
        except ValueError as refusal:
            raise SchemaRefused(f"cannot be read: {_in_one_line(str(refusal))}") from None
        compiled = LLMatcher(tokens, grammar, log_level=0, limits=_limits())
        if compiled.is_error():
            raise SchemaRefused(f"is not supported: {_in_one_line(compiled.get_error())}")
        first = Matcher(compiled.deep_copy(), self._end_tokens)
        first.allowed()
        if first.failed or first.complete:
            raise SchemaRefused("cannot be satisfied by anything")
        return compiled


class Matcher:
    """Follows one reply through a schema. For one thread at a time."""

    def __init__(self, state: LLMatcher, end_tokens: frozenset[int]) -> None:
        self._state = state
        self._end_tokens = end_tokens
        self.failed = False
        """Whether it has lost its way: following the schema any further takes more than its limits allow."""
        self.complete = False
        """Whether the reply is whole, and nothing but its end can follow."""

    def allowed(self) -> bytes:
        """Returns which tokens may come next: a bit each, lowest first.

        A token that ends a reply may come exactly where the reply is whole JSON. Meaningless once `failed` is true.
        """
        mask = self._state.compute_bitmask()
        self._look()
        return mask

    def advance(self, token: int) -> None:
        """Takes the chosen token into account."""
        if token in self._end_tokens:
            self.complete = True
        elif not self.failed:
            self._state.consume_token(token)
            self._look()

    def _look(self) -> None:
        stopped = self._state.is_stopped()
        self.complete = stopped and self._state.is_accepting()
        self.failed = stopped and not self.complete


def _limits() -> LLParserLimits:
    # A step of one reply can then take a few milliseconds of the engine's thread at most.
    return LLParserLimits(step_lexer_fuel=100_000, max_lexer_states=20_000, verbose_errors=False)


def _in_one_line(reason: str) -> str:
    line = " ".join(reason.removesuffix("<non-verbose/>").split())
    return json.dumps(line[:_LONGEST_REASON], ensure_ascii=False)[1:-1].replace('\\"', '"')
