# Everything that can be done here; `make help` lists it. Each target sets up what it needs.

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
READY  := $(VENV)/.ready
BROWSER := $(VENV)/.browser
SYSTEM_POSTGRES := $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))

# Programs are started by the hundred: each module is compiled once, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "audit-ledger needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

$(BROWSER): $(READY) # the system's, or a download, or a package; without one, the tests that look at pages skip
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| $(BIN)/playwright install --only-shell chromium >$@.log 2>&1 \
		|| { apt-get update && apt-get install --yes --no-install-recommends chromium; } >>$@.log 2>&1 \
		|| echo "no Chromium to be had, see $@.log: the tests that look at pages in a browser will skip"
	@touch $@

demo: $(READY) ## record three fetch scripts in a sandbox ledger, and look at it
	$(BIN)/python scripts/demo/demo.py

test: $(READY) $(BROWSER) lint ## lint, then test on the embedded server, then the store on the system's PostgreSQL
	$(BIN)/pytest -n 3 --dist loadfile
ifneq ($(SYSTEM_POSTGRES),)
	AUDIT_LEDGER_TEST_POSTGRES=$(SYSTEM_POSTGRES) $(BIN)/pytest -n 3 --dist loadfile \
		tests/contract tests/integration/test_event_store.py tests/integration/test_guards.py tests/integration/test_erasure.py \
		tests/integration/test_as_of.py tests/integration/test_replay.py \
		tests/properties/test_projection_model.py tests/acceptance/test_specification.py
endif

lint: $(READY) ## formatting, style, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure against limits and peers, side by side
	$(BIN)/python -m tests.benchmarks

clean: ## remove what the other targets made
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
