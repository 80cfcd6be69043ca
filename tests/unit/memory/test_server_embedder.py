"""The embedder that is another server's model, against a server that does what a test has it do."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from pydantic import SecretStr

from services.memory.embedder import EmbedderAway, EmbedderOptions, load_embedder
from services.memory.embedder.prompts import Prompts
from services.memory.embedder.server import ServerEmbedder
from services.rpc.settings import StartupError

Entry = dict[str, object]
TOLD = "something that somebody told"


def vector(text: str, length: int = 8) -> list[float]:
    """A vector that depends on the text, and is not of unit length."""
    return [byte / 50 for byte in hashlib.sha256(text.encode()).digest()[:length]]


def good(texts: list[str]) -> list[Entry]:
    return [{"index": i, "embedding": vector(text)} for i, text in enumerate(texts)]


class Scripted:
    """What the server says and was asked. `embed` answers with entries, or with a status and a text."""

    def __init__(self) -> None:
        self.models: object = {"object": "list", "data": [{"id": "tiny"}]}
        self.embed: Callable[[list[str]], object] = good
        self.usage: Callable[[list[str]], object] | None = None
        self.headers: dict[str, str] = {}
        self.cuts = 0
        """How many answers are yet to be cut off."""
        self.asked: list[list[str]] = []
        self.keys: list[str | None] = []
        self.address = ""


@pytest.fixture
def server() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.say(200, script.models)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            script.asked.append(body["input"])
            script.keys.append(self.headers.get("authorization"))
            if script.cuts:
                script.cuts -= 1
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
                self.close_connection = True
                return
            answer = script.embed(body["input"])
            if isinstance(answer, tuple):
                self.say(*answer)
            else:
                usage = {} if script.usage is None else {"usage": script.usage(body["input"])}
                self.say(200, {"object": "list", "model": body["model"], "data": answer, **usage})

        def say(self, status: int, body: object) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"content-length": str(len(data))} | script.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    script.address = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield script
    http.shutdown()
    http.server_close()
    thread.join()


@contextmanager
def loaded(script: Scripted, **options: object) -> Iterator[ServerEmbedder]:
    embedder = load_embedder(script.address, 1, EmbedderOptions(**options))
    script.asked.clear()
    try:
        yield embedder
    finally:
        embedder.close()


def unit(text: str) -> np.ndarray:
    row = np.array(vector(text))
    return row / np.linalg.norm(row)


def test_texts_become_rows_of_unit_length_in_their_order(server):
    with loaded(server) as embedder:
        rows = embedder.embed_messages(["one", "два", "three"])
    assert embedder.dimension == 8
    assert rows.dtype == np.float32
    assert np.allclose(rows, [unit(text) for text in ("one", "два", "three")], atol=1e-6)


def test_an_answer_in_another_order_is_put_right_by_its_indexes(server):
    server.embed = lambda texts: good(texts)[::-1]
    with loaded(server) as embedder:
        rows = embedder.embed_messages(["one", "two", "three"])
    assert np.allclose(rows, [unit(text) for text in ("one", "two", "three")], atol=1e-6)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entries: entries[:-1],
        lambda entries: [*entries, entries[0]],
        lambda entries: [entries[0] | {"index": i} for i in (0, 0)],
        lambda entries: [entry | {"index": i + 1} for i, entry in enumerate(entries)],
        lambda entries: [entries[0], entries[1] | {"embedding": [float("nan")] * 8}],
        lambda entries: [entries[0], entries[1] | {"embedding": [float("inf")] * 8}],
        lambda entries: [entries[0], entries[1] | {"embedding": [0.0] * 8}],
        lambda entries: [entries[0], entries[1] | {"embedding": [1.0] * 9}],
        lambda entries: [entry | {"embedding": [1.0] * 9} for entry in entries],
        lambda entries: [entries[0], entries[1] | {"embedding": ["1.0"] * 8}],
        lambda entries: [entries[0], entries[1] | {"embedding": 8}],
        lambda entries: [entries[0], {"index": 1}],
        lambda entries: [entries[0], None],
        lambda entries: None,
        lambda entries: (200, "not JSON"),
        lambda entries: (200, "[]"),
        lambda entries: (200, '{"data": 1e999}'),
    ],
)
def test_an_answer_that_is_not_one_good_vector_a_text_is_none(server, spoil):
    with loaded(server) as embedder:
        server.embed = lambda texts: spoil(good(texts))
        with pytest.raises(EmbedderAway, match="did not answer with one good vector a text"):
            embedder.embed_messages([TOLD, "two"])
        server.embed = good
        assert np.allclose(embedder.embed_messages(["two"]), [unit("two")], atol=1e-6)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_server_that_cannot_now_is_away_and_its_words_are_not_repeated(server, status, caplog, capsys):
    with loaded(server) as embedder:
        server.embed = lambda texts: (status, f"no: {texts}")
        with caplog.at_level(logging.DEBUG), pytest.raises(EmbedderAway, match=f"answers HTTP {status}") as away:
            embedder.embed_messages([TOLD])
    told = str(away.value) + caplog.text + "".join(capsys.readouterr())
    assert TOLD not in told
    assert away.value.retry_after is None
    assert away.value.__cause__ is None
    assert away.value.__suppress_context__ or away.value.__context__ is None


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("7", 7, 7), ("100000", 60, 60), (None, 5, 20), ("soon", None, None)],
)
def test_the_time_that_a_server_asks_for_is_passed_on(server, said, least, most):
    with loaded(server) as embedder:
        server.embed = lambda _: (429, "")
        # None: a date in twenty seconds.
        server.headers = {"retry-after": said or formatdate(time.time() + 20, usegmt=True)}
        with pytest.raises(EmbedderAway) as away:
            embedder.embed_messages(["one"])
    assert (away.value.retry_after is None) if least is None else (least <= away.value.retry_after <= most)


def test_a_connection_that_breaks_off_is_tried_once_more(server):
    with loaded(server) as embedder:
        server.cuts = 1
        assert np.allclose(embedder.embed_messages(["one"]), [unit("one")], atol=1e-6)
        server.cuts = 2
        with pytest.raises(EmbedderAway, match="broke off"):
            embedder.embed_messages(["one"])


def test_a_server_that_is_not_there_is_away(server):
    with loaded(server) as embedder:
        embedder._client.base = "http://127.0.0.1:9/v1"
        with pytest.raises(EmbedderAway, match="cannot be reached"):
            embedder.embed_messages(["one"])
    with pytest.raises(EmbedderAway, match="cannot be reached"):
        load_embedder("http://127.0.0.1:9", 1)


def test_a_server_that_does_not_answer_in_time_is_away(server):
    held = threading.Event()
    with loaded(server, server_seconds=0.2) as embedder:
        server.embed = lambda texts: (held.wait(30), good(texts))[1]
        with pytest.raises(EmbedderAway, match="in time"):
            embedder.embed_messages(["one"])
        held.set()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (413, ""),
        (400, '{"error": {"type": "exceed_context_size_error"}}'),
        (400, "This model's maximum context length is 512 tokens"),
        (500, "input (2001 tokens) is too large to process"),
    ],
)
def test_a_text_that_is_too_long_for_the_server_is_embedded_in_halves(server, status, words):
    with loaded(server) as embedder:
        server.embed = lambda texts: (status, words) if any(len(text) > 400 for text in texts) else good(texts)
        long = "".join(str(i) for i in range(300))[:1000]
        short, halved = embedder.embed_messages(["short", long])
        assert np.allclose(short, unit("short"), atol=1e-6)
        assert abs(np.linalg.norm(halved) - 1) < 1e-6
        quarters = [text for asked in server.asked for text in asked if len(text) <= 400]
        assert "".join(dict.fromkeys(text for text in quarters if text != "short")) == long


def test_tokens_are_those_that_the_server_counts_in_all_its_answers(server):
    server.usage = lambda texts: {"prompt_tokens": sum(map(len, texts)), "total_tokens": 10**6}
    with loaded(server, prompts=Prompts("q: ", "m: ")) as embedder:
        texts = ["x" * 9_000, *(f"{i}" * 1_000 for i in range(8))]
        counted = embedder.embed_counted(texts)
        assert len(server.asked) > 1
        assert counted.tokens == sum(len(text) for asked in server.asked for text in asked)
        assert np.array_equal(counted.rows, embedder.embed_messages(texts))
        assert embedder.embed_counted(["one"]).tokens == len("m: one")


@pytest.mark.parametrize(
    "usage", [None, "many", {}, {"prompt_tokens": "5"}, {"prompt_tokens": -1}, {"prompt_tokens": 1e9}]
)
def test_tokens_that_the_server_does_not_count_are_not_known(server, usage):
    server.usage = lambda _: usage
    with loaded(server) as embedder:
        assert embedder.embed_counted(["one"]).tokens is None


def test_a_text_that_the_server_refuses_keeps_no_other_from_being_embedded(server):
    with loaded(server) as embedder:
        server.embed = lambda texts: (400, "no") if TOLD in texts else good(texts)
        first, refused, last = embedder.embed_messages(["one", TOLD, "two"])
    assert np.allclose(first, unit("one"), atol=1e-6)
    assert not refused.any()
    assert np.allclose(last, unit("two"), atol=1e-6)


def test_a_server_that_refuses_every_text_is_away(server):
    with loaded(server) as embedder:
        server.embed = lambda _: (400, "no")
        with pytest.raises(EmbedderAway, match="refuses every text"):
            embedder.embed_messages(["one", "two"])


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405])
def test_a_server_that_is_none_of_this_any_more_is_away_while_the_service_runs(server, status):
    with loaded(server) as embedder:
        server.embed = lambda _: (status, "")
        with pytest.raises(EmbedderAway, match=f"HTTP {status}"):
            embedder.embed_messages(["one"])


def test_a_request_is_not_larger_than_a_small_server_can_take(server):
    with loaded(server) as embedder:
        rows = embedder.embed_messages(["x" * 9_000, *(f"{i}" * 1_000 for i in range(20))])
    assert rows.shape == (21, 8)
    assert all(sum(len(text) for text in asked) <= 12_000 for asked in server.asked)


def test_the_key_is_sent_and_shown_nowhere(server):
    server.embed = lambda _: (401, "")
    with pytest.raises(StartupError, match=r"does not accept the key \(HTTP 401\); set CHATBOT_EMBEDDER_API_KEY") as no:
        load_embedder(server.address, 1, EmbedderOptions(server_key=SecretStr("sesame")))
    assert server.keys == ["Bearer sesame"]
    assert "sesame" not in str(no.value)


def test_models_of_the_e5_family_are_given_their_prompts_by_name_and_others_none(server):
    server.models = {"data": [{"id": "intfloat/multilingual-e5-small"}, {"id": "tiny"}]}
    for model, query, message in (
        ("intfloat/multilingual-e5-small", "query: a", "passage: b"),
        ("tiny", "a", "b"),
    ):
        with loaded(server, server_model=model) as embedder:
            embedder.embed_queries(["a"])
            embedder.embed_messages(["b"])
            assert server.asked == [[query], [message]]
    with loaded(server, server_model="tiny", prompts=Prompts("find: ", "")) as embedder:
        embedder.embed_queries(["a"])
        assert server.asked == [["find: a"]]


def test_the_id_tells_models_and_prompts_apart_and_not_places(server):
    ids = {}
    for name, entry, prompts in (
        ("tiny", {"id": "tiny"}, None),
        ("again", {"id": "tiny"}, None),
        ("larger", {"id": "tiny", "meta": {"n_params": 5}}, None),
        ("other", {"id": "other"}, None),
        ("prompted", {"id": "tiny"}, Prompts("q: ", "m: ")),
        ("file", {"id": "/models/tiny.gguf"}, None),
    ):
        server.models = {"data": [entry]}
        with loaded(server, prompts=prompts) as embedder:
            ids[name] = embedder.id
    assert ids.pop("again") == ids["tiny"]
    assert len(set(ids.values())) == len(ids)
    assert ids["file"].startswith("server/tiny.gguf@")
    assert not any("127.0.0.1" in identity for identity in ids.values())


@pytest.mark.parametrize(
    ("models", "wanted", "why"),
    [
        ({"data": []}, None, "has no model"),
        ({"data": [{"id": "a"}, {"id": "b"}]}, None, "has several models; set CHATBOT_EMBEDDER_MODEL to one: a, b"),
        ({"data": [{"id": "a"}]}, "c", "CHATBOT_EMBEDDER_MODEL=c: .* does not have it, but: a"),
        ({"data": 5}, None, "is no list of models"),
        ([], None, "is no list of models"),
        ("words", None, "is no list of models"),
    ],
)
def test_a_server_without_the_model_is_refused_with_what_would_be_right(server, models, wanted, why):
    server.models = models
    with pytest.raises(StartupError, match=why):
        load_embedder(server.address, 1, EmbedderOptions(server_model=wanted))


@pytest.mark.parametrize("status", [400, 404, 413])
def test_a_server_that_does_not_embed_is_refused(server, status):
    server.embed = lambda _: (status, "")
    with pytest.raises(StartupError, match=r"tiny|no such model"):
        load_embedder(server.address, 1)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://ann:sesame@host/v1", "must have no user and password in it; set the server's key in"),
        ("http://:80/v1", "must look like http://host:8000/v1"),
        ("http://host:0", "must look like http://host:8000/v1"),
        ("http://host:1/v1?key=1", "must look like http://host:8000/v1"),
        ("http://host:abc", "its host or port is wrong"),
    ],
)
def test_what_is_no_address_is_refused(address, why):
    with pytest.raises(StartupError, match=why) as refused:
        load_embedder(address, 1)
    assert "sesame" not in str(refused.value)
