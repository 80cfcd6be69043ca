"""llama.cpp's own server as `xllamacpp` carries it, run by the interpreter of the measurements' environment.

`python llama_cpp_server.py GGUF PORT THREADS STREAMS CONTEXT`: serves until its standard input ends.
"""

from __future__ import annotations

import sys

import xllamacpp


def main(gguf: str, port: str, threads: str, streams: str, context: str) -> None:
    """Serves.

    Args:
        gguf: The model's file.
        port: Of its HTTP server.
        threads: CPU threads, for prompts and replies alike.
        streams: Most replies at the same time.
        context: Most tokens of each.
    """
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    params.n_parallel = int(streams)
    params.n_ctx = int(streams) * int(context)
    server = xllamacpp.Server(params)
    sys.stderr.write(f"serving at {server.listening_address}\n")
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
