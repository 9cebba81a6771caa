# `make demo` and `make test` need Python 3.11 to 3.13, make and a package index, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# All but zoo-torch: PyTorch is as large as everything else together; `make torch` adds both.
PROJECTS = . workers $(filter-out plugins/zoo-torch,$(sort $(wildcard plugins/*)))
# The build for the processor, 190 MB, from PyTorch's own package index (PIP_EXTRA_INDEX_URL);
# TORCH=torch==2.13.0 takes the one for CUDA, 3 GB.
TORCH ?= torch==2.13.0+cpu

# What the prose linter reads; records of the past keep the words of their time.
PROSE = $(shell find zoo workers plugins benchmarks docs README.md CONTRIBUTING.md SECURITY.md CODE_OF_CONDUCT.md \
  \( -name '*.py' -o -name '*.md' \) -not -path '*/tests/*' -not -path '*/.venv/*' -not -name decisions.md)

# Else each process of a suite compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install torch demo test test-quick bench captures chaos lint format lock clean

install: $(VENV)/installed

$(VENV)/installed: requirements.lock $(PROJECTS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Zoo needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making $(VENV) (about a gigabyte is downloaded, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PROJECTS:%=-e %)
	@touch $@

# PyTorch and the plugin zoo-torch, whose tests `make test` runs from then on.
torch: install
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) -e plugins/zoo-torch --no-build-isolation

demo: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" ZOO_HOME="$${ZOO_HOME:-$(CURDIR)/.zoo-demo}" sh demo.sh

test: install
	$(BIN)/python -m pytest -n 3 --dist loadgroup

# The unit tests: no server, no worker, no TensorFlow; half a minute.
test-quick: install
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not tensorflow and not slow and not mnist" tests/unit

bench: install
	$(BIN)/python -m benchmarks

# docs/captures: real commands in tmux, after a run of about a minute.
captures: install
	$(BIN)/python docs/capture.py

# Three hundred jobs on each database while everything around them breaks, once with leases so short
# that each beats and ends by itself; a minute without broker, a machine that falls sick in six ways,
# and a thousand cancels.
chaos: install
	PYTHONPATH=tests $(BIN)/python -m chaos.chaos
	PYTHONPATH=tests $(BIN)/python -m chaos.chaos --lease 6
	PYTHONPATH=tests $(BIN)/python -m chaos.outage
	PYTHONPATH=tests $(BIN)/python -m chaos.sick_machine
	PYTHONPATH=tests $(BIN)/python -m chaos.cancels
	PYTHONPATH=tests $(BIN)/python -m chaos.resume --model counter --seconds 1

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=plugins/zoo-torch $(BIN)/lint-imports --no-cache
	$(BIN)/python -m codespell_lib
	$(BIN)/python -m proselint check --config .proselintrc.json $(PROSE)
	$(BIN)/python docs/prose.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every dependency of all the distributions and of the tests, for Python 3.11 to 3.13, with hashes.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --upgrade --extra data --extra postgres --extra s3 --extra sweep --extra notebook --extra tables --extra export --group dev --no-emit-package mnist-zoo \
	  $(PROJECTS:%=%/pyproject.toml) -o requirements.lock

clean:
	rm -rf $(VENV) .zoo-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
