"""What is told of a download, by the hub's own client, from a hub in this process."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import pytest

from services.inference.engine import hub
from services.inference.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "a" * 40
WEIGHTS = bytes(12_000_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    half_sent = threading.Event()
    go_on = threading.Event()

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/org/model/tree/"):
            self._send(json.dumps([_entry(name) for name in FILES]).encode(), "application/json")
        elif path.startswith("/api/models/org/model"):
            info = {"id": "org/model", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}
            self._send(json.dumps(info).encode(), "application/json")
        elif path.startswith("/org/model/resolve/"):
            self._send(FILES[path.rpartition("/")[2]], "application/octet-stream", with_body=with_body)
        else:
            self.send_error(404)

    def _send(self, data: bytes, kind: str, *, with_body: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not with_body:
            return
        if data is WEIGHTS:
            self.wfile.write(data[: len(data) // 2])
            self.half_sent.set()
            self.go_on.wait(20)
            self.wfile.write(data[len(data) // 2 :])
        else:
            self.wfile.write(data)


def _entry(name: str) -> dict[str, object]:
    oid = hashlib.sha256(FILES[name]).hexdigest()[:40]
    return {"type": "file", "path": name, "size": len(FILES[name]), "oid": oid}


@pytest.fixture
def a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[_Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    here = {"endpoint": f"http://127.0.0.1:{server.server_port}", "cache_dir": tmp_path}
    monkeypatch.setattr(hub, "snapshot_download", partial(huggingface_hub.snapshot_download, **here))
    yield _Hub
    _Hub.go_on.set()
    huggingface_hub.close_session()
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_download_tells_its_share_in_bytes_while_it_is_under_way(a_hub: type[_Hub]):
    progress = Progress()
    folders: list[Path] = []
    downloading = threading.Thread(target=lambda: folders.append(hub.download("org/model", progress)))
    downloading.start()
    assert a_hub.half_sent.wait(20)
    while progress.describe() in {"starting", "downloading org/model", "downloading org/model: 0 % of 0 MB"}:
        assert downloading.is_alive()
    assert progress.describe().endswith(" % of 12 MB")
    assert not progress.describe().endswith(": 100 % of 12 MB")
    a_hub.go_on.set()
    downloading.join()
    assert (folders[0] / "model.safetensors").read_bytes() == WEIGHTS
    assert progress.describe() == "downloading org/model: 100 % of 12 MB"
