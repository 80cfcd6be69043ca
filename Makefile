# The commands of whoever works on this project. `python run.py` is all that a user needs.
PYTHON := .venv/bin/python

.PHONY: protos docs lint types format

protos:  ## regenerate gen/ from protos/
	rm -rf gen && mkdir gen
	$(PYTHON) -m grpc_tools.protoc -I protos --python_out=gen --pyi_out=gen --grpc_python_out=gen \
	  --plugin=protoc-gen-mypy_grpc=.venv/bin/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:gen protos/chatbot/v1/*.proto

docs:  ## rewrite docs/api.md from protos/
	$(PYTHON) docs/api_from_protos.py

lint:  ## style
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

types:  ## types
	$(PYTHON) -m mypy

format:  ## rewrite in the project's style
	$(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .
