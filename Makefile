# `make quickstart` and `make test` set up whatever they need. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: quickstart test check slow lowest docs clean

# Act 1 (static embeddings) and act 2 (a language model's first layers), each with a table and a report.
quickstart: $(READY)
	$(BIN)/tdro run quickstart --workers 2
	$(BIN)/tdro run quickstart-decoder --workers 2

# Lint, formatting, types, and every test but the slow ones: one command, also CI's.
test: check
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Minutes long: 20 and more random kills, and other long tests.
slow: $(READY)
	$(BIN)/python -m pytest -m slow

# The tests again with the oldest versions that pyproject.toml allows.
lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install -q -c constraints-lowest.txt -e '.[dev]'
	.venv-lowest/bin/python -m pytest -m 'not slow and not real'

# The site, in site/: open site/index.html. A broken link or a page that nothing leads to is an error.
docs: $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -E -c docs/site . site

# torch first and by its exact version, so that machines without a GPU get the CPU build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "tdro needs Python 3.10 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf site $(VENV) .venv-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis
