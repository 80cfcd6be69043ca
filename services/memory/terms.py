"""Texts to terms, for search by words: English, Russian, and any other language without stemming.

A term is the stem of a word (https://snowballstem.org/algorithms/), kept as a 32-bit hash. There is no query language:
whatever stands between words separates them, in a message and in a query alike.
"""

from __future__ import annotations

import re
import threading
import unicodedata
import zlib
from collections import Counter
from functools import lru_cache
from itertools import islice

import numpy as np
from snowballstemmer import stemmer

from services.memory.stop_words import STOP_WORDS

RECIPE = "words-1"
"""Names how terms are made: other terms need another name, and what is stored is then made anew."""

RECORD = np.dtype([("term", "<u4"), ("count", "u1")])
"""One distinct term of a message and how often it has it, as stored; 255 stands for more, too."""

MOST_TERMS = 64
"""Different terms of a query that are looked for: each takes as long as the next."""
_LONGEST_QUERY = 20_000
"""Characters of a query that are read for words."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "ё": "е"})
_LONGEST_WORD = 64
"""Characters by which a word is told from others: what is longer is no word of a language."""
_KEPT_STEMS = 1 << 16

# A stemmer keeps the word it is at in itself; messages are packed on one thread while a query is read on another.
_STEMMING = threading.Lock()
_ENGLISH = stemmer("english")
_RUSSIAN = stemmer("russian")


def words(text: str) -> list[str]:
    """Returns the words of a text in order: compatibility forms resolved, in lower case, ё as е."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    return [word[:_LONGEST_WORD] for word in _WORD.findall(plain)]


def pack_terms(text: str) -> bytes:
    """Returns the terms of a text as `RECORD`s, each term once, the lowest first."""
    counts = Counter(term(word) for word in words(text))
    records = np.empty(len(counts), dtype=RECORD)
    records["term"] = sorted(counts)
    records["count"] = [min(counts[int(one)], 255) for one in records["term"]]
    return records.tobytes()


def query_terms(text: str) -> list[int]:
    """Returns what to look for, each term once: the first `MOST_TERMS` of the words that tell something, or of all."""
    said = words(text[:_LONGEST_QUERY])
    telling = [word for word in said if word not in STOP_WORDS] or said
    return list(islice(dict.fromkeys(term(word) for word in telling), MOST_TERMS))


@lru_cache(maxsize=_KEPT_STEMS)
def term(word: str) -> int:
    """Returns the term that a word, as `words` gives it, stands for."""
    return zlib.crc32(stem(word).encode())


def stem(word: str) -> str:
    """Returns what the forms of an English or Russian word have in common; any other word as it is."""
    if "а" <= word[0] <= "я":
        stemmer_of_script = _RUSSIAN
    elif "a" <= word[0] <= "z":
        stemmer_of_script = _ENGLISH
    else:
        return word
    with _STEMMING:
        common: str = stemmer_of_script.stemWord(word)
    return common or word
