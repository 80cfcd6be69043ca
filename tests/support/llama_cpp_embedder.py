"""llama.cpp's server as `xllamacpp` carries it, embedding: `python llama_cpp_embedder.py GGUF`.

Serves until its standard input ends.
"""

from __future__ import annotations

import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.embedding = True
params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.n_parallel = 2
params.n_ctx = 512
params.n_batch = params.n_ubatch = 256
server = xllamacpp.Server(params)
sys.stderr.write(f"serving at {server.listening_address}\n")
sys.stderr.flush()
sys.stdin.read()
