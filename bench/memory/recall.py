"""Does search find the turns that answer a question: the service through its door, and each of its ingredients.

Each conversation is a user of its own, as long conversations are. Recall is the share of a question's evidence among
the first 5, 10 and 20 hits, averaged over questions.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from bench.result import Observation
from chatbot.v1 import chat_message_pb2, memory_service_pb2
from services.memory import index as index_module
from services.memory import ranking, terms
from services.memory.held import Held
from services.memory.index import UserIndex
from services.memory.index_query import IndexQuery
from services.memory.message_text import embedded_text, searched_words
from services.memory.scoring.prepare_kernel import FULLNESS_WEIGHT, LONG_ENOUGH
from services.memory.vector import LogStretch, StoredVector, UnembeddedMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from bench.memory.dialogues import Dialogue, Question, Turn
    from chatbot.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub
    from services.memory.columns import Columns
    from services.memory.embedder import Embedder
    from services.memory.lexical import LexicalIndex

DEPTHS = (5, 10, 20)
_APPENDED_AT_ONCE = 50


class _SayingNothing(Held):
    """As if all messages said as much."""

    def __init__(self, columns: Columns, lexical: LexicalIndex) -> None:
        super().__init__(columns, lexical)
        self.fullness[:] = 0


class _SayingTheirLength(Held):
    """As if every word said as much."""

    def __init__(self, columns: Columns, lexical: LexicalIndex) -> None:
        super().__init__(columns, lexical)
        said = np.log1p(np.minimum(lexical.lengths, LONG_ENOUGH))
        self.fullness[:] = FULLNESS_WEIGHT * (said - said.mean())


@dataclass(frozen=True, slots=True)
class Variant:
    """Search with something changed: names of modules' attributes with the values they are given."""

    name: str
    changes: tuple[tuple[Any, str, Any], ...] = ()
    bare: bool = False
    """Whether texts are embedded without author and date."""
    dense_weight: float | None = None
    """None: as the service chooses it."""


_NO_WORDS = ((ranking, "LEXICAL_WEIGHT", 0.0), (ranking, "AUTHOR_WEIGHT", 0.0))
_NO_FULLNESS = (index_module, "Held", _SayingNothing)
_NO_NEIGHBOURS = (ranking, "NEIGHBOUR_WEIGHTS", (0.0, 0.0))
_NOTHING_IN_COMMON = (ranking, "COMMON_WEIGHT", 0.0)
_BARE = (*_NO_WORDS, _NO_FULLNESS, _NO_NEIGHBOURS, _NOTHING_IN_COMMON)
_LENGTH_ALONE = (index_module, "Held", _SayingTheirLength)

VARIANTS = (
    Variant("embedder alone, bare turns", _BARE, bare=True, dense_weight=1.0),
    Variant("embedder alone", _BARE, dense_weight=1.0),
    Variant("words alone", (_NO_FULLNESS, (ranking, "AUTHOR_WEIGHT", 0.0)), dense_weight=0.0),
    Variant("all"),
    Variant("all but author and date in the embedded text", bare=True),
    Variant("all but neighbours' meaning", (_NO_NEIGHBOURS,)),
    Variant("all, meaning of the nearest neighbours alone", ((ranking, "NEIGHBOUR_WEIGHTS", (0.2, 0.0)),)),
    Variant("all, neighbours' meaning at 1/4 and 1/8", ((ranking, "NEIGHBOUR_WEIGHTS", (0.25, 0.125)),)),
    Variant("all but taking off what is common", (_NOTHING_IN_COMMON,)),
    Variant("all but words", _NO_WORDS),
    Variant("all but words of the window", ((ranking, "WINDOW_WEIGHT", 0.0),)),
    Variant("all but the author that the query names", ((ranking, "AUTHOR_WEIGHT", 0.0),)),
    Variant("all but how much a message says", (_NO_FULLNESS,)),
    Variant("all, how much a message says by its length alone", (_LENGTH_ALONE,)),
    Variant("all but stemming", ((terms, "stem", str),)),
    Variant("all but leaving out words that tell nothing", ((terms, "STOP_WORDS", frozenset()),)),
    Variant("all, similarity at full weight for Russian", dense_weight=1.0),
)


@dataclass(slots=True)
class Tally:
    """What was found, question by question."""

    name: str
    shares: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def count(self, language: str, question: Question, found: Sequence[int]) -> None:
        """Notes one question's hits, the best first, by their places."""
        for depth in DEPTHS:
            share = len(question.evidence.intersection(found[:depth])) / len(question.evidence)
            for measure in (language, f"{language} {question.kind}"):
                self.shares[measure, depth].append(share)

    def observations(self) -> Iterator[tuple[str, Observation]]:
        """Yields recall in percent."""
        for (measure, depth), shares in self.shares.items():
            yield self.name, Observation(measure, f"recall_at_{depth}", "%", 100 * sum(shares) / len(shares))


async def through_the_door(stub: MemoryServiceAsyncStub, dialogues: Sequence[Dialogue], tally: Tally) -> None:
    """Appends each conversation in order and asks its questions as they are."""
    for dialogue in dialogues:
        user_id = str(uuid.uuid4())
        created = await stub.CreateConversation(
            memory_service_pb2.CreateConversationRequest(user_id=user_id, request_id=str(uuid.uuid4()))
        )
        for start in range(0, len(dialogue.turns), _APPENDED_AT_ONCE):
            await stub.AppendMessages(
                memory_service_pb2.AppendMessagesRequest(
                    user_id=user_id,
                    conversation=created.conversation.name,
                    messages=[_message(turn) for turn in dialogue.turns[start : start + _APPENDED_AT_ONCE]],
                    request_id=str(uuid.uuid4()),
                )
            )
        for question in dialogue.questions:
            # The first search waits for everything to be embedded; none is given up on.
            answer = await stub.SearchMessages(
                memory_service_pb2.SearchMessagesRequest(user_id=user_id, query=question.text, limit=max(DEPTHS))
            )
            tally.count(dialogue.language, question, [hit.message.sequence - 1 for hit in answer.hits])


class Ingredients:
    """Searches the same conversations with each variant, embedding everything once.

    Args:
        embedder: What to embed with.
        dialogues: What to search.
        tell: Told about progress.
    """

    def __init__(self, embedder: Embedder, dialogues: Sequence[Dialogue], tell: Callable[[str], None]) -> None:
        self._dialogues = dialogues
        self._trusts_russian = embedder.reads_russian
        self._queries = [embedder.embed_queries([question.text for question in d.questions]) for d in dialogues]
        self._rows: dict[bool, list[NDArray[np.float32]]] = {}
        for bare in (False, True):
            tell(f"embedding {'bare turns' if bare else 'turns with author and date'}")
            self._rows[bare] = [
                embedder.embed_messages([turn.text if bare else embedded_text(_waiting(turn)) for turn in d.turns])
                for d in dialogues
            ]

    def search(self, variant: Variant, tally: Tally) -> None:
        """Asks every question of every conversation."""
        with contextlib.ExitStack() as changed:
            for module, name, value in variant.changes:
                changed.enter_context(mock.patch.object(module, name, value))
            terms.term.cache_clear()
            for dialogue, rows, queries in zip(self._dialogues, self._rows[variant.bare], self._queries, strict=True):
                index = UserIndex(rows.shape[1], 0)
                turns = enumerate(zip(dialogue.turns, rows, strict=True))
                index.add(LogStretch.of([_stored(place, turn, row) for place, (turn, row) in turns]))
                weight = variant.dense_weight
                if weight is None:
                    trusted = self._trusts_russian or dialogue.language != "ru"
                    weight = 1.0 if trusted else ranking.UNTRUSTED_DENSE_WEIGHT
                for question, query in zip(dialogue.questions, queries, strict=True):
                    wanted = IndexQuery(query, terms.query_terms(question.text), max(DEPTHS), dense_weight=weight)
                    found = [hit.message_id for hit in index.search(wanted)]
                    tally.count(dialogue.language, question, found)
        terms.term.cache_clear()


def _message(turn: Turn) -> chat_message_pb2.ChatMessage:
    said = Timestamp()
    said.FromDatetime(turn.said)
    return chat_message_pb2.ChatMessage(
        role=chat_message_pb2.ROLE_USER, content=turn.text, author=turn.author, create_time=said
    )


def _waiting(turn: Turn) -> UnembeddedMessage:
    return UnembeddedMessage(0, "", turn.text, turn.author, _nanoseconds(turn))


def _stored(place: int, turn: Turn, row: NDArray[np.float32]) -> StoredVector:
    packed = terms.pack_terms(searched_words(_waiting(turn)))
    vector = row.astype("<f2").tobytes()
    return StoredVector(place, place + 1, "", place + 1, 2, turn.author, _nanoseconds(turn), vector, packed)


def _nanoseconds(turn: Turn) -> int:
    return int(turn.said.timestamp()) * 1_000_000_000
