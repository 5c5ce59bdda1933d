# What a developer runs. `make` alone lists the targets.
#
# Everything is built below .venv and .cache, and only again when what it is made from has changed.
# Another Python: make test PYTHON=python3.13 (the environments are then made anew).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Passed on to pytest by `make test`, `make tests` and `make unit`: make unit PYTEST_ARGS="-k frames -x"
PYTEST_ARGS ?=

SERVERS     := .cache/servers
SERVERS_SRC := tests/conformance/servers
RECIPES     := .cache/recipes

# Only needed by `make lock`; pinned, because another version may write the same lock differently.
UV_VERSION := 0.13.9

# Like 3.11; empty when PYTHON does not run. The stamps carry it, so another Python makes new environments.
PY := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# No index is named here: pip's own settings say where packages come from. The hashes say which ones.
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-input
# The lock is complete, so nothing is resolved: pip's resolver would look at newer releases than the locked ones
# for a requirement with an extra, and refuse them for want of a hash.
LOCKED      = $(PIP_INSTALL) --no-deps --require-hashes

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint format types layers coverage unit tests matrix reference servers server-node recipes-node \
    lock clean python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environments ---------------------------------------------------------------------------------------------

setup: $(VENV)/.dev-$(PY) ## everything for development, in .venv

# The demo's lock is a part of the full one, so both may fill the same .venv, one after the other.
$(VENV)/.dev-$(PY): .ci/requirements.txt pyproject.toml | $(VENV)/.python-$(PY)
	@echo "Installing the locked packages into $(VENV)"
	@$(BIN)/python $(LOCKED) -r $<
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check --disable-pip-version-check >/dev/null
	@touch $(VENV)/.demo-$(PY) $@

$(VENV)/.demo-$(PY): .ci/requirements-demo.txt pyproject.toml | $(VENV)/.python-$(PY)
	@echo "Installing the locked packages into $(VENV)"
	@$(BIN)/python $(LOCKED) -r $<
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.python-$(PY): | python
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Says what is missing before pip or venv fail with a message that does not.
python:
	@$(PYTHON) -c '' 2>/dev/null || \
	    { echo "make: '$(PYTHON)' does not run. Install Python 3.11 or newer, or name one: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: $(PYTHON) is Python $(PY), this needs 3.11 or newer. Name one: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "make: $(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# --- running --------------------------------------------------------------------------------------------------

# exec, so that Ctrl-C and signals meet the program itself and not a shell around it.
demo: $(VENV)/.demo-$(PY) ## try it: a SockJS server and the bridge in front of it
	@exec $(BIN)/sockjs-bridge demo

# --- checks ---------------------------------------------------------------------------------------------------

test: lint types layers coverage tests ## all checks and all tests, as CI runs them

lint: setup ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: setup ## put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: setup ## mypy
	$(BIN)/mypy

layers: setup ## import-linter: the layers of the architecture
	$(BIN)/lint-imports --no-cache

unit: setup ## the tests that need no server of others
	$(BIN)/pytest -n auto --ignore=tests/conformance --ignore=tests/e2e $(PYTEST_ARGS)

# Its unit tests alone, so that nothing is left to the chance of a property test or of a server.
coverage: setup ## the unit tests of protocol/ have to take each of its branches
	@mkdir -p .cache/coverage
	$(BIN)/pytest --cov --cov-report= tests/unit/protocol
	$(BIN)/coverage report --fail-under=100

tests: setup servers ## all tests
	$(BIN)/pytest -n auto $(PYTEST_ARGS)

matrix: setup servers ## run the conformance matrix, write what came out into README.md
	$(BIN)/python -m tests.conformance.matrix $(PYTEST_ARGS)

reference: setup ## write the reference of the configuration: config/bridge.toml and its part of README.md
	$(BIN)/python -m tests.unit.config.reference_files

# --- servers of others that the tests run against -------------------------------------------------------------

# sockjs-tornado and the `sockjs` for aiohttp install the same package name: each gets an environment of its own.
servers: server-node recipes-node $(SERVERS)/tornado/.ready-$(PY) $(SERVERS)/aio/.ready-$(PY) ## real SockJS servers, below .cache

# Without Node the tests of that server are skipped, and say so; with CI=true they fail.
server-node:
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	    $(MAKE) --no-print-directory $(SERVERS)/node/.ready; \
	else \
	    echo "make: no node and npm here: the tests against sockjs-node will be skipped"; \
	fi

$(SERVERS)/node/.ready: $(SERVERS_SRC)/node-packages.txt
	@echo "Installing the sockjs-node test server"
	@mkdir -p $(@D)
	@npm install --silent --no-package-lock --no-audit --no-fund --ignore-scripts --prefix $(@D) $$(grep -v '^#' $<)
	@touch $@

# What the Node recipes in config/recipes ask for. Their own dependencies are named to pin them; the binary is in the
# package, so no script has to run.
RECIPES_NODE := zeromq@6.8.0 cmake-ts@1.0.2 node-addon-api@8.9.2

recipes-node:
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	    $(MAKE) --no-print-directory $(RECIPES)/node/.ready-$(firstword $(RECIPES_NODE)); \
	else \
	    echo "make: no node and npm here: the tests of the Node recipes will be skipped"; \
	fi

$(RECIPES)/node/.ready-$(firstword $(RECIPES_NODE)):
	@echo "Installing the package of the Node recipes"
	@mkdir -p $(@D)
	@npm install --silent --no-package-lock --no-audit --no-fund --ignore-scripts --prefix $(@D) $(RECIPES_NODE)
	@touch $@

# sockjs-tornado is published as source only. The setuptools that builds it is in its lock, so it comes first.
$(SERVERS)/tornado/.ready-$(PY): $(SERVERS_SRC)/requirements-tornado-build.txt $(SERVERS_SRC)/requirements-tornado.txt | python
	@echo "Installing the sockjs-tornado test server"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python $(LOCKED) -r $<
	@$(@D)/bin/python $(LOCKED) --no-build-isolation -r $(word 2,$^)
	@touch $@

$(SERVERS)/aio/.ready-$(PY): $(SERVERS_SRC)/requirements-aio.txt | python
	@echo "Installing the aiohttp-sockjs test server"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python $(LOCKED) -r $<
	@touch $@

# --- locks ----------------------------------------------------------------------------------------------------

# Writes every lock anew from pyproject.toml and the *.in files. Versions that still fit are kept; to move them:
#     make lock LOCK_ARGS=--upgrade
# The result has hashes, is good for each Python from 3.11 on, and names no package index: that is a setting of
# the machine that installs. That is also why uv.lock, which holds addresses, is not committed.
LOCK_ARGS ?=
UV_COMPILE = .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-emit-index-url --no-emit-find-links $(LOCK_ARGS)

lock: .cache/uv/.ready-$(UV_VERSION) ## write the hashed requirements files anew
	$(UV_COMPILE) pyproject.toml --extra demo --group dev --output-file .ci/requirements.txt
	$(UV_COMPILE) pyproject.toml --extra demo --group build --constraints .ci/requirements.txt \
	    --output-file .ci/requirements-demo.txt
	$(UV_COMPILE) --group build --constraints .ci/requirements.txt --output-file .ci/requirements-build.txt
	$(UV_COMPILE) pyproject.toml --constraints .ci/requirements.txt --output-file .ci/requirements-image.txt
	$(UV_COMPILE) $(SERVERS_SRC)/requirements-tornado-build.in --output-file $(SERVERS_SRC)/requirements-tornado-build.txt
	$(UV_COMPILE) $(SERVERS_SRC)/requirements-tornado.in --output-file $(SERVERS_SRC)/requirements-tornado.txt
	$(UV_COMPILE) $(SERVERS_SRC)/requirements-aio.in --output-file $(SERVERS_SRC)/requirements-aio.txt
	@! grep -nE '://|^ *--(index|extra-index|find-links)' .ci/*.txt $(SERVERS_SRC)/*.txt || \
	    { echo "make: a lock names an address, see above" >&2; exit 1; }

.cache/uv/.ready-$(UV_VERSION): | python
	@$(PYTHON) -m venv --clear .cache/uv
	@.cache/uv/bin/python $(PIP_INSTALL) uv==$(UV_VERSION)
	@touch $@

clean: ## remove all that make built
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
