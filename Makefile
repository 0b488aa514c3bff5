# Needs Python 3.11 or newer, and make. Everything else is installed into .venv when first needed.

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

# The first Python that is new enough and can make environments; looked for only when .venv is made.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help demo web test lint types check format bench clean

help:  ## show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | \
	while IFS='	' read -r target text; do printf '  make %-8s %s\n' "$$target" "$$text"; done

demo: $(VENV)/run.stamp  ## explain the bundled photos with the bundled network, into out/
	@$(BIN)/rootpoint demo

web: $(VENV)/web.stamp  ## open the interactive page in a browser
	@$(BIN)/rootpoint serve --open

test: $(VENV)/dev.stamp  ## run the tests (PYTEST_FLAGS="-k balance" for some of them)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 $(PYTEST_FLAGS)

lint: $(VENV)/dev.stamp  ## style, format and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports

types: $(VENV)/dev.stamp  ## check the types
	@$(BIN)/pyright

check: test lint types  ## all of the above but the demo: what a change must pass

format: $(VENV)/dev.stamp  ## put the code in its format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/dev.stamp  ## measure speed and memory beside other libraries, into docs/speed.md
	@$(BIN)/python benchmarks/propagation.py --output docs/speed.md
	@$(BIN)/python benchmarks/methods.py --output docs/speed-methods.md
	@$(BIN)/python benchmarks/evaluation.py --output docs/speed-evaluation.md
	@$(BIN)/python benchmarks/kernels.py --output docs/speed-kernels.md

clean:  ## remove all that make has made
	rm -rf $(VENV) out build dist .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp stands for an installation; it is done again when what it installs has changed.

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing rootpoint and what it needs into $(VENV) (once, about a minute) ..." >&2
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/web.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing rootpoint and its page into $(VENV) (once, about a minute) ..." >&2
	@$(INSTALL) --editable '.[web]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing rootpoint and its tools into $(VENV) (once, a minute or two) ..." >&2
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp $(VENV)/web.stamp

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with its venv module was found." \
	"Install one (on Debian and Ubuntu: apt install python3-venv) or name it:" \
	"make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
