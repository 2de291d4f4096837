# The two commands of the README, and what CI adds. Each makes its own virtual environment in the clone.

PYTHON ?= python3
VENV ?= .venv
APP ?= flask_shop
BIN := $(VENV)/bin

.PHONY: demo test matrix lint bench clean

demo: $(VENV)/.demo  ## run an example app: make demo APP=django_shop
	@$(BIN)/python example_apps/run.py $(APP)

test: $(VENV)/.dev $(VENV)-scavenger/.made  ## run all tests
	$(BIN)/python -m pytest

matrix: $(VENV)/.dev  ## run every server through every way to end it, and print the table of docs/process-model.md
	$(BIN)/python -m tests.e2e.matrix

lint: $(VENV)/.dev  ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev $(VENV)-scavenger/.made  ## print the ratios that docs/benchmarks.md explains
	$(BIN)/python benchmarks/middleware.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/propagation.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/process.py
	$(BIN)/python benchmarks/usage.py

clean:
	rm -rf $(VENV) $(VENV)-scavenger dist .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "flagmw needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml tests/services/official.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/services/official.txt
	@touch $@ $(VENV)/.demo

$(VENV)-scavenger/.made: $(VENV)/bin/python tests/services/official_scavenger.txt
	$(BIN)/python -m venv $(VENV)-scavenger
	$(VENV)-scavenger/bin/python -m pip install --quiet --disable-pip-version-check -r tests/services/official_scavenger.txt
	@touch $@
