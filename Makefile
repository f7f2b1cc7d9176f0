# Every target works alone on a machine that has only make and Python >= 3.11.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
# Which tests `make test` runs; `make test MARKS=` runs all of them.
MARKS ?= not slow
# Processes that share the tests: one a core, eight at most, each with one thread (tiny models use no more).
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 8 ? n : 8)))
# Bytecode is kept, whatever the machine says: every process that starts would compile the package anew, and pytest the tests.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
FULL := $(VENV)/.installed-test
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install

.PHONY: help setup clients demo test slow check format wheel clean

help:
	@echo "make demo    the whole path in under three minutes, without network"
	@echo "make setup   environment with everything the tests need"
	@echo "make test    the default suite"
	@echo "make slow    the tests that are marked slow"
	@echo "make clients environment with other people's clients of the server, for the slow tests"
	@echo "make check   formatting, lint and types"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(FULL): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[test]'
	@touch $@ $(CORE)

setup: $(FULL)

# openai, cohere, OpenRLHF, LLaMA-Factory, ms-swift and schemathesis meet the server unmodified, from an environment that
# cannot change ours. The trainers come without their dependencies: their request code needs few of them.
CLIENTS := $(VENV)/clients
$(CLIENTS)/.installed: tests/clients.txt | $(BIN)/python
	$(BIN)/python -m venv $(CLIENTS)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(CLIENTS)/bin/python -m pip install -q -r tests/clients.txt
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(CLIENTS)/bin/python -m pip install -q --no-deps openrlhf==0.11.2 llamafactory==0.9.5 ms-swift==4.6.0
	@touch $@

clients: $(CLIENTS)/.installed

demo: $(CORE)
	$(BIN)/rewardsmith demo

test: $(FULL)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "$(MARKS)" -n $(WORKERS) --dist worksteal

# Those that measure the machine come last, one at a time; the others also run where one of them fails.
slow: $(FULL)
	@status=0; export OMP_NUM_THREADS=1; \
	$(BIN)/python -m pytest -m "slow and not alone" -n $(WORKERS) --dist worksteal || status=1; \
	$(BIN)/python -m pytest -m "slow and alone" || status=1; \
	exit $$status

check: $(FULL)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(FULL)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(CORE)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build demo
