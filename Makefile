# `make demo` and `make test` need Python 3.11 to 3.13, make and a package index, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# All but zoo-torch: PyTorch is as large as everything else together; `make torch` adds both.
PROJECTS = . workers $(filter-out plugins/zoo-torch,$(sort $(wildcard plugins/*)))
# What the demo needs for its first accuracy, and what it needs for the network.
LIGHT = '.[data]' workers plugins/zoo-sklearn
NETWORK = '.[data,tables]' workers plugins/zoo-sklearn plugins/zoo-keras plugins/zoo-report plugins/zoo-web
EXTRAS = data postgres s3 sweep notebook tables export
# The build for the processor, 190 MB, from PyTorch's own package index (PIP_EXTRA_INDEX_URL);
# TORCH=torch==2.13.0 takes the one for CUDA, 3 GB.
TORCH ?= torch==2.13.0+cpu

# What the prose linter reads; records of the past keep the words of their time.
PROSE = $(shell find zoo workers plugins benchmarks docs README.md CONTRIBUTING.md SECURITY.md CODE_OF_CONDUCT.md \
  \( -name '*.py' -o -name '*.md' \) -not -path '*/tests/*' -not -path '*/.venv/*' -not -name decisions.md)

# Else each process of a suite compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install torch demo test test-quick test-lowest bench bench-quick instructions captures chaos lint format lock wheels try-wheels docs cast clean

install: $(VENV)/installed

MADE_OF = requirements.lock $(PROJECTS:%=%/pyproject.toml)
INSTALL = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
  { echo "Zoo needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }; \
  $(PYTHON) install.py $(VENV)

$(VENV)/installed: $(MADE_OF)
	@echo "Installing everything into $(VENV): 1.1 GB are downloaded, once"
	@$(INSTALL) --whole-lock $(PROJECTS)
	@touch $@

$(VENV)/light: $(MADE_OF)
	@$(MAKE) -q $(VENV)/installed || { \
	  echo "Installing Zoo with the models of scikit-learn into $(VENV): 100 MB are downloaded, once"; \
	  $(INSTALL) $(LIGHT); }
	@touch $@

$(VENV)/network: $(MADE_OF)
	@$(MAKE) -q $(VENV)/installed || { \
	  echo "Installing TensorFlow for a network: 700 MB are downloaded, once"; \
	  $(INSTALL) $(NETWORK); }
	@touch $@

# PyTorch and the plugin zoo-torch, whose tests `make test` runs from then on.
torch: install
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) -e plugins/zoo-torch --no-build-isolation

DEMO = PATH="$(CURDIR)/$(BIN):$$PATH" ZOO_HOME="$${ZOO_HOME:-$(CURDIR)/.zoo-demo}" sh demo.sh

demo: $(VENV)/light
	@$(DEMO) light
	@$(MAKE) --no-print-directory $(VENV)/network
	@$(DEMO) network

test: install
	$(BIN)/python -m pytest -n 3 --dist loadgroup

# The unit tests: no server, no worker, no TensorFlow; half a minute.
test-quick: install
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not tensorflow and not slow and not mnist" tests/unit

bench: install
	$(BIN)/python -m benchmarks

# The rows that a change breaks first: two minutes.
bench-quick: install
	$(BIN)/python -m benchmarks --pairs 1 quick

# Instructions of `zoo --help`, a claim and a no-op job, compared with the last accepted ones.
instructions: install
	$(BIN)/python -m benchmarks.instructions

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
	PYTHONPATH=tests $(BIN)/python -m chaos.removal
	PYTHONPATH=tests $(BIN)/python -m chaos.year --jobs 4000
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
# `make lock UPGRADE=` keeps the versions and adds what is new.
UPGRADE = --upgrade
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  $(UPGRADE) $(EXTRAS:%=--extra %) --group dev --no-emit-package mnist-zoo \
	  $(PROJECTS:%=%/pyproject.toml) -o requirements.lock

# Every distribution as sdist and wheel, checked as a package index would.
wheels: $(VENV)/installed
	rm -rf dist
	$(BIN)/zoo man > zoo.1
	@for each in $(PROJECTS) plugins/zoo-torch; do \
	  (cd $$each && $(CURDIR)/$(BIN)/python -m hatchling build -d $(CURDIR)/dist >/dev/null) || exit 1; done
	$(BIN)/python -m twine check --strict dist/*

# The first five minutes with them, in a new environment outside this folder.
try-wheels:
	@ls dist/*.whl >/dev/null 2>&1 || $(MAKE) wheels
	sh release/try_wheels.sh dist $(PYTHON)

# The documentation site, in site/.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The moving picture of the README, from a real run.
cast: install
	$(BIN)/python docs/cast.py

# The quick tests with the oldest versions that the packages accept (needs uv).
test-lowest:
	sh release/lowest.sh $(PYTHON)

clean:
	rm -rf $(VENV) .zoo-demo dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
