# One word per chore; `make help` lists them. Needs only Python 3.11+ and make.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv install up test check format bench fuzz docs build clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'ARGS="…" hands options on: make up ARGS="--nodes 5", make test ARGS="tests/cli -x"'

venv: $(BIN)/python ## Make the virtual environment .venv

install: $(INSTALLED) ## Install the package and its tools into .venv

up: $(INSTALLED) ## Run a cluster here: PostgreSQL, 3 nodes, a demo upstream
	@$(BIN)/gateway up $(ARGS)

test: $(INSTALLED) ## Run the test suite, on up to four cores
	$(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

check: $(INSTALLED) ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict -p gateway -p benchmarks -p fuzz

format: $(INSTALLED) ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## Measure one node against nginx and others (needs nginx and wrk)
	$(BIN)/python -m benchmarks.run $(ARGS)

fuzz: $(INSTALLED) ## Throw mutated bytes at the proxy, for ten minutes
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m fuzz $(or $(ARGS),--minutes 10)

docs: $(INSTALLED) ## Write into docs what the code tells: settings, fields of plugins
	$(BIN)/gateway settings --markdown > docs/settings.md
	$(BIN)/gateway plugin pages docs/plugins

build: $(INSTALLED) ## Build the wheel into dist/
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove what tools leave behind (not .venv, not data/)
	rm -rf build dist benchmarks/results *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find gateway tests benchmarks fuzz alembic -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.13 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'This Python has no ensurepip; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
