# make demo | test | test-all | same | lint | docs | benchmark | soak | clean
# PYTHON chooses the interpreter that makes the virtual environment.
PYTHON ?= python3
VENV ?= .venv
BENCHMARKS ?= $(filter-out recipe,$(basename $(notdir $(shell grep -l '^RACE = ' benchmarks/*.py))))
BIN = $(VENV)/bin
# torch is always named with its version: without it a resolver may bring another build.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	-c constraints.txt "torch==2.13.0" -e

.PHONY: demo test test-all same lint docs benchmark soak clean help

help:
	@sed -n 's/^# make /make /p' Makefile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp for each extra: nothing is installed again until the requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (minutes the first time) ..."
	$(INSTALL) "$(if $(filter run,$*),.,.[$*])"
	@touch $@

demo: $(VENV)/.installed-run
	$(BIN)/ganvae train

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2

# Before a refactoring: records. After it: says what is no longer the same, to the bit.
same: $(VENV)/.installed-test
	$(BIN)/python tools/same.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# Hours; a race of cells goes on where it was stopped, and BENCHMARKS="step limit" chooses some.
benchmark: $(VENV)/.installed-test $(VENV)/.installed-benchmark
	@failed=0; for race in $(BENCHMARKS); do echo "== $$race"; \
	$(BIN)/python -m benchmarks $$race || failed=1; done; \
	$(BIN)/python -m benchmarks page; exit $$failed

# The long tests alone, on one core: dozens of kills, twenty healthy runs, hours of memory.
soak: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) build dist docs/_build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find ganvae tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
