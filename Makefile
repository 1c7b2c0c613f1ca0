# Every target does its own set-up: Python 3.11 or newer with its venv module, make, and nothing else is needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Plugins are named: looking for them costs seconds on every run. ARGS="-n 0" runs the tests in one process.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
# One process more than processors, since some tests wait for a disk or for a program they have started; four at most.
WORKERS = $(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
PYTEST = $(BIN)/pytest -p anyio -p _hypothesis_pytestplugin -p xdist.plugin -n $(WORKERS) --dist loadgroup

# The driver of PostgreSQL, for whoever wants it: make install POSTGRES=1. From then on it is kept up to date.
READY = $(VENV)/.run $(if $(POSTGRES)$(wildcard $(VENV)/.postgres),$(VENV)/.postgres)
# What `test` installs if it is missing and may be installed, or says how; PACKAGES= tests without.
PACKAGES ?= postgresql pgbouncer

.PHONY: demo install run check test portable lint mutants bench lock clean

demo: $(VENV)/.run
	@$(BIN)/receiver demo $(if $(ONCE),--once)

# The program alone, as .venv/bin/receiver: nothing is started, and no key is made.
install: $(READY)
	@$(BIN)/python -m compileall -q receiver

run: $(READY)
	@$(BIN)/receiver serve

# After every change: lint, types, and the tests that need nothing but Python.
check: lint
	$(PYTEST) $(ARGS) tests/unit

# Everything, or what ARGS says: make test ARGS="tests/store -k claim".
test: lint
	@$(if $(PACKAGES),.ci/packages $(PACKAGES))
	$(PYTEST) $(ARGS)

# What may differ between Pythons, which PostgreSQL does not: make portable PYTHON=python3.13 VENV=.venv-3.13
portable: $(VENV)/.dev
	$(PYTEST) -k "not postgres" $(ARGS) tests/unit tests/store

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Mutation testing of the pure modules, some twenty minutes on two idle processors; ARGS="decide pacing" tries only these.
mutants: $(VENV)/.mutants
	$(BIN)/python tests/mutants $(ARGS)

# In an environment without the tools: httpx imports some of them if they are there, which takes 2 to 3 MB.
bench: VENV := .venv-bench
bench:
	@$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/.postgres
	$(VENV)/bin/python -m bench $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "receiver needs Python 3.11 or newer, and $(PYTHON) is not: name one, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Compiled here: a service that may not write into its own folder would compile all of it at every start.
$(VENV)/.run: $(BIN)/python requirements/run.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q receiver
	@touch $@

$(VENV)/.postgres: $(VENV)/.run requirements/postgres.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/postgres.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.postgres requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.mutants: $(VENV)/.dev requirements/mutants.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutants.txt
	@touch $@

# Writes the pins anew: hashes, no index addresses.
lock: $(VENV)/.dev
	cd requirements && for name in run postgres dev mutants; do \
	  $(abspath $(BIN))/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	    --no-emit-index-url --no-emit-find-links --no-header --output-file $$name.txt $$name.in || exit 1; \
	done

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .mutants
