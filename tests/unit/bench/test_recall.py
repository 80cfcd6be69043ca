"""That each variant of search whose recall is measured is another search: what it changes is there, and counts."""

from __future__ import annotations

import pytest

from bench.memory.dialogues import dialogues
from bench.memory.recall import VARIANTS, Ingredients, Tally
from services.memory.embedder.fake import FakeEmbedder
from services.memory.index import UserIndex

ALL = next(variant for variant in VARIANTS if variant.name == "all")


@pytest.fixture(scope="module")
def ingredients() -> Ingredients:
    first_of = {one.language: one for one in dialogues("tuning")}
    embedder = FakeEmbedder()
    embedder.reads_russian = False
    return Ingredients(embedder, list(first_of.values()), lambda _: None)


def scores(ingredients: Ingredients, variant, monkeypatch) -> list[tuple[float, ...]]:
    """Returns what hits score by each of their parts, question by question."""
    seen = []
    search = UserIndex.search

    def recorded(index, query):
        hits = search(index, query)
        seen.extend((hit.message_id, hit.dense, hit.lexical, hit.prior) for hit in hits)
        return hits

    with monkeypatch.context() as patched:
        patched.setattr(UserIndex, "search", recorded)
        ingredients.search(variant, Tally(variant.name))
    return seen


@pytest.mark.parametrize("variant", [one for one in VARIANTS if one is not ALL], ids=lambda one: one.name)
def test_each_variant_finds_or_scores_otherwise(ingredients, variant, monkeypatch):
    whole = scores(ingredients, ALL, monkeypatch)
    assert scores(ingredients, variant, monkeypatch) != whole
    assert scores(ingredients, ALL, monkeypatch) == whole
