"""Vector stores that people put beside a chat, on given vectors: `python -m bench.memory.peer_stores STORE FOLDER`.

Run by the interpreter of the peers' environment. Reads what `peers.Task` wrote; prints one line of JSON an answer.
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

Row = dict[str, Any]
"""Of a vector: `user`, `conversation`, `role`, `author` and `time`."""


class Unsupported(Exception):
    """The store has no such filter."""


class PeerStore(ABC):
    """One store, embedded, its data in a folder."""

    @abstractmethod
    def add(self, first: int, vectors: NDArray[np.float32], rows: Sequence[Row]) -> None:
        """Adds vectors, whose ids are numbers from `first` on."""

    @abstractmethod
    def search(self, vector: NDArray[np.float32], wanted: Mapping[str, Any], limit: int) -> list[int]:
        """Returns ids of the nearest by cosine among rows that have these values; `since` is a least `time`.

        Raises:
            Unsupported: It has no such filter.
        """


class Chroma(PeerStore):
    """Chroma's persistent client, in this process."""

    def __init__(self, folder: Path) -> None:
        import chromadb  # noqa: PLC0415 (only where it is measured)

        settings = chromadb.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(str(folder), settings=settings)
        self._collection: Any = client.create_collection(
            "messages", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    @override
    def add(self, first: int, vectors: NDArray[np.float32], rows: Sequence[Row]) -> None:
        ids = [str(first + i) for i in range(len(rows))]
        self._collection.add(ids=ids, embeddings=vectors, metadatas=list(rows))

    @override
    def search(self, vector: NDArray[np.float32], wanted: Mapping[str, Any], limit: int) -> list[int]:
        where = [{"time": {"$gte": value}} if name == "since" else {name: value} for name, value in wanted.items()]
        found = self._collection.query(
            query_embeddings=vector[None], n_results=limit, where=where[0] if len(where) == 1 else {"$and": where}
        )
        return [int(i) for i in found["ids"][0]]


class Lance(PeerStore):
    """LanceDB, in this process, without an approximate index: rows are scanned."""

    def __init__(self, folder: Path) -> None:
        import lancedb  # noqa: PLC0415 (only where it is measured)

        self._database: Any = lancedb.connect(str(folder))
        self._table: Any = None

    @override
    def add(self, first: int, vectors: NDArray[np.float32], rows: Sequence[Row]) -> None:
        data = [{"id": first + i, "vector": vectors[i], **row} for i, row in enumerate(rows)]
        if self._table is None:
            self._table = self._database.create_table("messages", data)
        else:
            self._table.add(data)

    @override
    def search(self, vector: NDArray[np.float32], wanted: Mapping[str, Any], limit: int) -> list[int]:
        where = " AND ".join(
            f"time >= {value}" if name == "since" else f"{name} = '{value}'" for name, value in wanted.items()
        )
        query = self._table.search(vector).distance_type("cosine").where(where, prefilter=True)
        return [int(row["id"]) for row in query.select(["id"]).limit(limit).to_list()]


class Mem0Faiss(PeerStore):
    """mem0's store on FAISS: one exact index for all, filtered after the search."""

    def __init__(self, folder: Path) -> None:
        from mem0.vector_stores.faiss import FAISS  # noqa: PLC0415 (only where it is measured)

        self._store: Any = FAISS("messages", str(folder / "messages"), "cosine", embedding_model_dims=384)

    @override
    def add(self, first: int, vectors: NDArray[np.float32], rows: Sequence[Row]) -> None:
        ids = [str(first + i) for i in range(len(rows))]
        self._store.insert([list(map(float, vector)) for vector in vectors], list(rows), ids)

    @override
    def search(self, vector: NDArray[np.float32], wanted: Mapping[str, Any], limit: int) -> list[int]:
        if "since" in wanted:
            raise Unsupported
        found = self._store.search("", [list(map(float, vector))], top_k=limit, filters=dict(wanted))
        return [int(one.id) for one in found]


STORES: dict[str, Callable[[Path], PeerStore]] = {"Chroma": Chroma, "LanceDB": Lance, "mem0's FAISS": Mem0Faiss}


def main(name: str, folder: Path) -> None:
    """Measures one store."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    vectors, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")
    rows: list[Row] = task["rows"]
    store = STORES[name](folder / "".join(filter(str.isalnum, name)))
    began = time.perf_counter()
    bulk = task["bulk"]
    for start in range(0, bulk, task["batch"]):
        end = min(start + task["batch"], bulk)
        store.add(start, vectors[start:end], rows[start:end])
    _say(kind="bulk", seconds=time.perf_counter() - began)
    single = iter(range(bulk, len(rows)))
    for round_of in task["rounds"]:
        for _ in range(task["adds"]):
            one = next(single)
            began = time.perf_counter()
            store.add(one, vectors[one : one + 1], rows[one : one + 1])
            _say(kind="add", seconds=time.perf_counter() - began)
        for asked in round_of:
            began = time.perf_counter()
            try:
                found = store.search(queries[asked["query"]], asked["wanted"], task["limit"])
            except Unsupported:
                continue
            _say(kind="search", id=asked["id"], seconds=time.perf_counter() - began, found=found)


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
