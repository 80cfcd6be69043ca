"""Texts longer than a model's window.

A long text is cut into pieces that each fill the window, and its vector is the mean of theirs, made unit length:
one vector a message, in which no part of an ordinary message is unseen. Of a very long text only the first
`MAX_PIECES` windows count (about 4,000 word pieces of a model that sees 256 at once), so that one message cannot
hold the embedder up for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MAX_PIECES = 16

RECIPE = "mean-of-16"
"""Part of an embedder's id: other pieces give other vectors."""

# No tokenizer gives fewer tokens than one for this many characters of ordinary text.
_MAX_CHARACTERS_A_TOKEN = 16


def cut(text: str, window: int, offsets_of: Callable[[str], Sequence[tuple[int, int]]]) -> list[str]:
    """Returns the pieces of a text: one where it fits the window.

    Args:
        text: Not empty.
        window: Most tokens in a piece.
        offsets_of: Tokenizes a text and returns each token's first and past-the-last character.
    """
    head = text[: MAX_PIECES * window * _MAX_CHARACTERS_A_TOKEN]
    if len(head) <= window:  # a token has a character at least
        return [head]
    offsets = offsets_of(head)
    starts = range(0, min(len(offsets), MAX_PIECES * window), window)
    pieces = [head[offsets[i][0] : offsets[min(i + window, len(offsets)) - 1][1]] for i in starts]
    return [piece for piece in pieces if piece] or [head[:window]]


def embed_in_pieces(
    texts: Sequence[str],
    cut_text: Callable[[str], list[str]],
    embed: Callable[[list[str]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Returns a unit vector a text, the mean of its pieces' vectors."""
    pieces_of = [cut_text(text) for text in texts]
    rows = embed([piece for pieces in pieces_of for piece in pieces])
    firsts = np.cumsum([0, *(len(pieces) for pieces in pieces_of[:-1])])
    sums = np.add.reduceat(rows, firsts, axis=0)
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), dtype=np.float32)
