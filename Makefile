# The commands of whoever works on this project. `python run.py` is all that a user needs.
PYTHON := .venv/bin/python

.PHONY: protos docs lint types format test test-browser test-clients test-gpu locks bench-engine bench-gpu bench-memory bench-context bench-quantization check

protos:  ## regenerate gen/ from protos/
	$(PYTHON) -m deploy.protos

docs:  ## rewrite docs/api.md from protos/, README.md's settings table from the code, the programs in docs/clients' pages
	$(PYTHON) docs/api_from_protos.py
	$(PYTHON) docs/settings_from_code.py
	$(PYTHON) docs/client_pages.py

lint:  ## style
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

types:  ## types
	$(PYTHON) -m mypy

format:  ## rewrite in the project's style
	$(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .

test:  ## set up and run all tests
	python3 run.py test -n auto --maxprocesses 4 --dist loadfile

test-gpu:  ## try the decoder on an NVIDIA GPU
	python3 run.py test tests/gpu -m gpu

test-browser:  ## try the page in Chromium (Debian: apt-get install chromium), with axe-core of .ci
	(cd .ci && npm ci --no-audit --no-fund --loglevel=error)
	python3 run.py test tests/browser -m browser

test-clients:  ## build and run the client programs of docs/clients; tests/clients/install_toolchains.sh gets what they need
	python3 run.py test tests/clients -m clients

locks:  ## choose the versions of all packages anew
	python3 run.py lock

bench-engine:  ## measure the inference service beside its peers; BENCH="--quick" and the like go to it
	$(PYTHON) -m bench.engine $(BENCH)

bench-gpu:  ## measure the inference service on a GPU beside transformers; BENCH="--seconds 300" and the like go to it
	$(PYTHON) -m bench.gpu $(BENCH)

bench-memory:  ## measure the memory service: does search find the evidence, and how fast
	$(PYTHON) -m bench.memory $(BENCH)

bench-context:  ## measure what stands in prompts: is the evidence there, and is the KV cache used
	$(PYTHON) -m bench.context $(BENCH)

bench-quantization:  ## compare the forms of weights: speed, memory, perplexity; BENCH="--rounds 3" and the like go to it
	$(PYTHON) -m bench.quantization $(BENCH)

check:  ## all that has to hold before a change goes in
	.ci/run
