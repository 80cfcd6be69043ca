"""Long conversations of two people, made from hand-written threads, with the turns marked that answer questions.

Seeded: the same for everyone. The threads are halved by their place in the file, so that what is tuned on shares
neither conversations nor threads with what is reported.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HALVES = ("tuning", "report")
LANGUAGES = ("en", "ru")
CONVERSATIONS = {"en": 20, "ru": 12}
"""How many there are of each language, both halves together."""

_FOLDER = Path(__file__).parent
_TURN = re.compile(r"([AB])((?:\*\d+)?)((?: @\w+)*): (.+)")
_QUESTION = re.compile(r"\? (\w+) \*(\d+): (.+)")
_SLOT = re.compile(r"\{(\w+)\}")
_FEWEST_SESSIONS = 6
_THREADS_A_SESSION = 3
_FILLERS = (2, 5)
_LEADS, _TAILS = 0.25, 0.5

_NAMES = {
    "en": (
        ("Harriet", "Leo"),
        ("Simone", "Viktor"),
        ("Abigail", "Ravi"),
        ("Noah", "Petra"),
        ("Yusuf", "Clara"),
        ("Beatrice", "Owen"),
        ("Kenji", "Laura"),
        ("Martha", "Isaac"),
        ("Diego", "Freya"),
        ("Naomi", "Patrick"),
    ),
    # Nominative, genitive, dative, accusative.
    "ru": (
        ("Анна Анны Анне Анну", "Игорь Игоря Игорю Игоря"),
        ("Мария Марии Марии Марию", "Павел Павла Павлу Павла"),
        ("Ольга Ольги Ольге Ольгу", "Денис Дениса Денису Дениса"),
        ("Вера Веры Вере Веру", "Фёдор Фёдора Фёдору Фёдора"),
        ("Нина Нины Нине Нину", "Кирилл Кирилла Кириллу Кирилла"),
        ("Софья Софьи Софье Софью", "Артём Артёма Артёму Артёма"),
    ),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one of the two said."""

    author: str
    said: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the places of the turns that answer it, from 0."""

    kind: str
    text: str
    evidence: frozenset[int]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation and what is asked about it."""

    language: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


@dataclass(slots=True)
class _Thread:
    slots: dict[str, list[str]] = field(default_factory=dict)
    turns: list[tuple[str, str, tuple[str, ...], str]] = field(default_factory=list)
    questions: list[tuple[str, str, str]] = field(default_factory=list)


def dialogues(half: str) -> list[Dialogue]:
    """Returns one half's conversations, English ones first.

    Args:
        half: One of `HALVES`.
    """
    number = HALVES.index(half)
    return [
        _dialogue(language, _threads(language)[number::2], random.Random(f"{language}/{half}/{i}"), i)  # noqa: S311
        for language in LANGUAGES
        for i in range(CONVERSATIONS[language] // 2)
    ]


def _dialogue(language: str, threads: Sequence[_Thread], chance: random.Random, number: int) -> Dialogue:
    filler, groups = _filler(language), _groups(language)
    pairs = _NAMES[language]
    forms = [_forms(name) for name in pairs[number % len(pairs)]]
    told = [(thread, first) for thread in threads for first in (0, 1)]
    chance.shuffle(told)
    told = told[: len(told) * 5 // 6]
    count = max(_FEWEST_SESSIONS, -(-len(told) // _THREADS_A_SESSION))
    day = datetime(2023, chance.randint(1, 4), chance.randint(1, 28), chance.randint(8, 20), tzinfo=UTC)
    turns: list[Turn] = []
    spoken = 0
    questions: list[Question] = []
    grouped: dict[tuple[str, int], set[int]] = defaultdict(set)

    def say(who: int, text: str) -> None:
        at = day + timedelta(minutes=len(turns) - spoken)
        turns.append(Turn(forms[who][""], at, text.replace("{other}", forms[1 - who][""])))

    def chat(kind: str, how_many: int) -> None:
        for text in chance.sample(filler[kind], how_many):
            next_to_speak = int(turns[-1].author == forms[0][""]) if turns else chance.randint(0, 1)
            say(next_to_speak, dressed(text) if kind == "react" else text)

    def dressed(text: str) -> str:
        lead = [chance.choice(filler["lead"])] if chance.random() < _LEADS else []
        tail = [chance.choice(filler["tail"])] if chance.random() < _TAILS else []
        return " ".join([*lead, text, *tail])

    for session in range(count):
        spoken = len(turns)
        chat("open", 1)
        for thread, first in told[session::count]:
            fill = {name: chance.choice(values) for name, values in thread.slots.items()}
            fill |= {f"A{case}": form for case, form in forms[first].items()}
            marks: dict[str, int] = {}
            for speaker, mark, tags, text in thread.turns:
                if mark:
                    marks[mark] = len(turns)
                for tag in tags:
                    grouped[tag, first].add(len(turns))
                say(first if speaker == "A" else 1 - first, dressed(_filled(text, fill)))
            for kind, mark, text in thread.questions:
                questions.append(Question(kind, _filled(text, fill), frozenset({marks[mark]})))
            chat("react", chance.randint(*_FILLERS))
        chat("close", 1)
        day += timedelta(days=chance.randint(3, 24), hours=chance.randint(-3, 3))
    for (tag, first), places in grouped.items():
        if len(places) > 1:
            fill = {f"A{case}": form for case, form in forms[first].items()}
            questions.append(Question("multi", _filled(groups[tag], fill), frozenset(places)))
    return Dialogue(language, tuple(turns), tuple(questions))


def _forms(name: str) -> dict[str, str]:
    words = name.split()
    return {"": words[0], "_gen": words[len(words) > 1], "_dat": words[2 % len(words)], "_acc": words[-1]}


def _filled(text: str, fill: dict[str, str]) -> str:
    full = _SLOT.sub(lambda slot: fill.get(slot[1], slot[0]), text)
    return full[0].upper() + full[1:]


def _threads(language: str) -> list[_Thread]:
    threads: list[_Thread] = []
    for line in _lines(f"threads_{language}.txt"):
        if line.startswith("#"):
            threads.append(_Thread())
        elif turn := _TURN.fullmatch(line):
            threads[-1].turns.append((turn[1], turn[2][1:], tuple(turn[3].replace("@", "").split()), turn[4]))
        elif question := _QUESTION.fullmatch(line):
            threads[-1].questions.append((question[1], question[2], question[3]))
        else:
            name, _, values = line.partition(" = ")
            threads[-1].slots[name] = values.split(" | ")
    return threads


def _filler(language: str) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = defaultdict(list)
    heading = ""
    for line in _lines("filler.txt"):
        if line.startswith("# "):
            heading = line[2:]
        else:
            lines[heading].append(line)
    return {kind.split()[1]: texts for kind, texts in lines.items() if kind.startswith(language)}


def _groups(language: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in _lines("groups.txt"):
        tag, _, question = line.partition(": ")
        if tag.startswith(language):
            found[tag.split()[1]] = question
    return found


def _lines(name: str) -> Iterator[str]:
    yield from filter(None, (_FOLDER / name).read_text(encoding="utf-8").splitlines())
