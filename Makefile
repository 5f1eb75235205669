# `make demo` trains a model of handwritten digits and ends with the path of its report;
# `make test` is what continuous integration runs. Both need Python 3.11 or newer, git and make.
#
#   make demo      install what running needs, then `unstir run digits`
#   make test      lint, types, layers, and every test that is not marked slow
#   make verify    `unstir verify` in full, and the tests marked slow: longer trainings, kills, many draws
#   make bench     quality and speed beside other libraries, in an environment of its own
#   make docs      the documentation, in docs/_build
#   make lint      ruff, pyrefly and import-linter alone
#   make format    ruff's formatting, applied
#   make clean     remove what was built and cached; environments and runs stay
#
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
BENCH := .venv-bench/bin
PIP := -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# a process a core and one thread each: threads would fight over the cores with the processes
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist worksteal

.DELETE_ON_ERROR:
.PHONY: demo test verify bench docs lint format clean

demo: .venv/.demo-stamp
	$(BIN)/unstir run digits

test: lint
	$(PYTEST) -m "not slow"

verify: .venv/.dev-stamp
	$(BIN)/unstir verify
	$(PYTEST) -m slow

lint: .venv/.dev-stamp
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/pyrefly check --summary=none
	$(BIN)/lint-imports --no-cache

format: .venv/.dev-stamp
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

docs: .venv/.docs-stamp
	$(BIN)/sphinx-build -q docs docs/_build
	@echo docs/_build/index.html

bench: .venv-bench/.stamp
	$(BENCH)/python -m benchmarks.quality
	$(BENCH)/python -m benchmarks.throughput
	$(BENCH)/python -m benchmarks.exact
	$(BENCH)/python -m benchmarks.sampler_accuracy
	$(BENCH)/python -m benchmarks.step_overhead
	$(BENCH)/python -m benchmarks.log_density
	$(BENCH)/python -m benchmarks.token_samplers
	$(BENCH)/python -m benchmarks.posterior_samplers
	$(BENCH)/python -m benchmarks.equivariant

clean:
	rm -rf dist docs/_build docs/jupyter_execute .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(wildcard src tests docs benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +

# Torch comes first and alone, at its pinned version: a build for this machine that pip already
# knows of is then taken, and nothing installed later replaces it.
define install_torch
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'unstir needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	@echo 'Installing into $(1) (once; torch alone is some 200 MB) …'
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python $(PIP) $(TORCH)
endef

.venv/.demo-stamp: pyproject.toml constraints.txt
	$(call install_torch,.venv)
	@$(BIN)/python $(PIP) --editable .
	@touch $@

.venv/.dev-stamp: .venv/.demo-stamp
	@$(BIN)/python $(PIP) --editable '.[dev]'
	@touch $@

.venv/.docs-stamp: .venv/.demo-stamp
	@$(BIN)/python $(PIP) --editable '.[docs]'
	@touch $@

# benchmarks/requirements.txt is complete in itself, since peers would pull in packages that nothing here uses
.venv-bench/.stamp: pyproject.toml constraints.txt $(wildcard benchmarks/requirements*.txt)
	$(call install_torch,.venv-bench)
	@$(BENCH)/python $(PIP) --editable .
	@$(BENCH)/python $(PIP) --no-deps --requirement benchmarks/requirements.txt
	@touch $@
