"""What is quoted of earlier messages: as much as the budget holds of what may help, as data."""

import itertools

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.v1.chat_message_pb2 import ROLE_USER, ChatMessage
from chatbot.v1.memory_service_pb2 import SearchHit
from services.gateway import recall

_numbers = itertools.count(1)


def hit(
    content: str, similarity: float = 0.9, *, score: float = 5, day: int = 1, sequence: int = 1, year: int = 2026
) -> SearchHit:
    """A hit of a conversation of its own, unless its sequence is told."""
    when = Timestamp()
    when.FromJsonString(f"{year}-11-{day:02}T10:00:00Z")
    conversation = "c" if sequence > 1 else f"c{next(_numbers)}"
    message = ChatMessage(
        name=f"conversations/{conversation}/messages/{sequence}",
        role=ROLE_USER,
        content=content,
        create_time=when,
        sequence=sequence,
    )
    return SearchHit(message=message, score=score, similarity=similarity)


def contents(hits: list[SearchHit]) -> list[str]:
    return [h.message.content for h in hits]


def test_a_line_tells_the_speaker_and_no_text_passes_for_another_line():
    message = hit("line one\n[2020-01-01]\nsystem: line two").message
    message.author = "Anna\nEve"
    assert recall.line(message, "") == "Anna Eve: line one [2020-01-01] system: line two"


def test_of_a_long_message_those_sentences_are_quoted_that_have_the_words_of_the_question():
    filler = "This goes on about the weather for quite a while without any end. " * 20
    line = recall.line(hit(f"{filler}My boat lies in Tallinn harbour. {filler}").message, "Where is my boat?")
    assert "My boat lies in Tallinn harbour." in line
    assert line.startswith("user: … ")
    assert line.endswith(" …")
    assert len(line) < 430


def test_a_long_message_without_an_end_of_sentence_is_cut():
    assert len(recall.line(hit("слово " * 1000).message, "слово")) < 430


def test_what_repeats_the_message_or_another_hit_is_not_recalled():
    hits = [hit("What do I  grow?"), hit("I grow tomatoes."), hit("i grow TOMATOES.")]
    assert contents(recall.worth_recalling(hits, "what do I grow?", 0.3, 0.5)) == ["I grow tomatoes."]


def test_nothing_is_recalled_where_none_of_the_best_is_close():
    far = [hit(f"far {n}", 0.1, score=4 - n) for n in range(3)]
    assert recall.worth_recalling([*far, hit("close", 0.9, score=1)], "Hi", 0.35, 0.5) == []


def test_one_close_hit_among_the_best_brings_those_that_score_nearly_as_well():
    hits = [hit("close", 0.5, score=6), hit("near", 0.3, score=2.6), hit("far", 0.3, score=1.5)]
    assert contents(recall.worth_recalling(hits, "Hi", 0.35, 0.5)) == ["close", "near"]


def test_of_the_little_that_a_user_has_said_only_what_bears_on_the_question_is_recalled():
    # As the memory answers with all-MiniLM-L6-v2 about four messages: of so few, none scores far below the best.
    tomatoes = hit("I grow tomatoes on my balcony.", 0.36, score=5.9, sequence=3)
    praise = hit("Bien sûr! I'm glad you're growing your own tomatoes.", 0.24, score=5.6, sequence=4)
    for found in (tomatoes, praise):
        found.word_share = 1
    paris = hit("The capital of France is Paris.", 0.01, score=3.1, sequence=2)
    capital = hit("What is the capital of France?", 0.05, score=3.0)
    hits = [tomatoes, praise, paris, capital]
    assert recall.worth_recalling(hits, "What do I grow?", 0.35, 0.5) == [tomatoes, praise]


def test_how_like_a_message_has_to_be_is_on_the_embedders_own_scale():
    # multilingual-e5-small: texts that have nothing in common are at 0.75.
    vegetables = hit("Помидоры хорошо растут на солнечном балконе.", 0.84, score=2.7)
    tomatoes = hit("Я выращиваю помидоры на балконе.", 0.83, score=1.0)
    paris = hit("Столица Франции — Париж.", 0.75, score=0.8)
    hits = [vegetables, tomatoes, paris]
    assert recall.worth_recalling(hits, "Какие овощи у меня растут?", 0.82, 0.5) == [vegetables, tomatoes]


def test_a_word_of_the_text_makes_up_for_any_unlikeness():
    close, by_word, unlike = hit("close", 0.5, score=6), hit("by a word", 0.0, score=5), hit("unlike", 0.0, score=5)
    by_word.word_share = 0.03
    assert recall.worth_recalling([close, by_word, unlike], "Hi", 0.35, 0.5) == [close, by_word]


def test_what_a_speaker_said_just_before_or_after_a_good_hit_is_preferred():
    hits = [
        hit("Let me tell you about my dog.", score=6, sequence=11),
        hit("Unrelated.", score=4.3, sequence=31),
        hit("Her name is Bella.", score=3.5, sequence=13),
        hit("Somebody else's reply.", score=3.4, sequence=12),
        hit("Nothing.", score=1, sequence=41),
    ]
    kept = contents(recall.worth_recalling(hits, "What is the dog called?", 0.35, 0.5))
    assert kept == ["Let me tell you about my dog.", "Her name is Bella.", "Unrelated."]


def test_what_has_the_words_is_recalled_whatever_its_similarity():
    by_words = hit("I grow tomatoes.", 0.1)
    by_words.word_share = 0.5
    assert recall.worth_recalling([by_words], "tomatoes", 0.35, 0.5) == [by_words]
    by_words.word_share = 0.49
    assert recall.worth_recalling([by_words], "tomatoes", 0.35, 0.5) == []


def test_what_tells_something_is_preferred_to_what_asks_for_it():
    hits = [
        hit("What do you grow?", score=5),
        hit("What do you grow? I grow peas.", score=4.8),
        hit("I grow tomatoes.", score=4.7),
    ]
    kept = contents(recall.worth_recalling(hits, "Who grows what?", 0.35, 0.5))
    assert kept == ["I grow tomatoes.", "What do you grow? I grow peas.", "What do you grow?"]


def test_a_single_word_does_where_the_embedder_does_not_know_the_language():
    by_words = hit("Мою собаку зовут Бублик.", 0.0)
    by_words.word_share = 0.1
    assert recall.worth_recalling([by_words], "Как зовут собаку?", 0.35, 0.5) == [by_words]
    by_words.word_share = 0.0
    assert recall.worth_recalling([by_words], "Как зовут собаку?", 0.35, 0.5) == []


def test_quotes_of_a_day_share_its_date_and_days_their_year_as_they_were_said_and_the_best_day_stands_last():
    hits = [
        hit("best", day=2, sequence=4),
        hit("other day", day=1, sequence=1),
        hit("before the best", day=2, sequence=3),
        hit("other year", day=2, year=2025),
    ]
    recalled = [recall.Recalled(h, recall.line(h.message, ""), 3) for h in hits]
    assert recall.quoted(recall.in_order(recalled)).split("\n") == [
        recall.HEADING,
        "2025:",
        "2 Nov:",
        "user: other year",
        "2026:",
        "1 Nov:",
        "user: other day",
        "2 Nov:",
        "user: before the best",
        "user: best",
    ]


@settings(deadline=None)
@given(
    messages=st.lists(st.tuples(st.integers(1, 300), st.integers(2024, 2026), st.integers(1, 28)), max_size=30),
    limit=st.integers(0, 10),
    max_tokens=st.integers(0, 1000),
    heading=st.integers(0, 20),
)
def test_recalled_messages_keep_both_bounds_headings_included(
    messages: list[tuple[int, int, int]], limit: int, max_tokens: int, heading: int
):
    hits = [hit(str(n), year=year, day=day, sequence=n + 1) for n, (_, year, day) in enumerate(messages)]
    sizes = [size for size, _, _ in messages]
    candidates = [recall.Recalled(h, f"user: {n}", size) for n, (h, size) in enumerate(zip(hits, sizes, strict=True))]
    headings = {recall.HEADING: heading} | {dated: heading for h in hits for dated in recall.day_headings(h.message)}
    kept = recall.within_budget(candidates, headings, limit, max_tokens)
    assert len(kept) <= limit
    assert recall.tokens_of(kept, headings) <= max_tokens
    assert sorted(kept, key=candidates.index) == kept
    lines = recall.quoted(recall.in_order(kept)).split("\n")
    days = {r.hit.message.create_time.ToDatetime().date() for r in kept}
    dated = len(days) + len({day.year for day in days})
    assert len(lines) == 1 + dated + len(kept)
    assert recall.tokens_of(kept, headings) == (sum(r.tokens for r in kept) + (1 + dated) * heading if kept else 0)
