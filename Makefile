# The commands of this project; `make` alone lists them.
#
# Everything is installed into .venv, for `make bench` into .venv-bench, from lock files with hashes; a stamp in it for
# each lock makes the second run quick. What the runs leave behind is in build/. Nothing outside the tree is written but
# the caches of pip and of the real programs of `make test-real` ($HADESGW_CACHE, ~/.cache/hadesgw if unset), and what
# requirements/debian.txt lists, if root runs the tests.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
BIN := .venv/bin
INSTALL := python -m pip install --quiet --disable-pip-version-check --no-input
PIP := $(BIN)/$(INSTALL)
TRIAL := $(BIN)/python -m twisted.trial --reporter=text
# The longest first. `sessions` needs nothing large: it is part of `make trial`.
SLOW := $(patsubst %,tests/real/%,codex vllm clients)
SLOW += $(filter-out $(SLOW) tests/real/sessions,$(patsubst %/__init__.py,%,$(wildcard tests/real/*/__init__.py)))
ALONE := %/codex
MINUTES ?= 30
UV_VERSION := 0.13.9

export HADESGW_CACHE ?= $(HOME)/.cache/hadesgw

# ---- run it ------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: .venv/run.stamp webclient  ## a gateway with a rehearsal model behind it: prints a page, a key, a curl line
	@exec $(BIN)/twistd -n --pidfile= hadesgw --demo

# ---- check it ----------------------------------------------------------------------------------------------------

.PHONY: test
test: lint types own-coverage webclient-test trial pytest  ## everything below but the slow real programs

.PHONY: lint
lint: .venv/lint.stamp  ## ruff, secrets, news fragments
	$(BIN)/ruff check --quiet .
	$(BIN)/python -m tools.secrets_scan
	@said=$$($(BIN)/towncrier build --draft --version check 2>&1) || { echo "$$said"; exit 1; }

.PHONY: types
types: .venv/lint.stamp .venv/test.stamp  ## mypy --strict with the zope plugin
	$(BIN)/mypy

.PHONY: own-coverage
own-coverage: .venv/test.stamp  ## every pure module is wholly covered by its own test file alone
	$(BIN)/python -m tools.own_coverage

.PHONY: trial
trial: .venv/test.stamp debian | build  ## all tests, the ones with real processes too
	$(TRIAL) --temp-directory=build/trial tests

.PHONY: pytest
pytest: .venv/test.stamp  ## all tests but those with real processes, by the second runner
	HYPOTHESIS_PROFILE=brief $(BIN)/python -m pytest -q -ra --ignore=tests/real

.PHONY: count
count: .venv/test.stamp | build  ## meters and log against 10,000 requests counted at the client; series of 100,000
	HADESGW_COUNTED_REQUESTS=10000 $(TRIAL) --temp-directory=build/trial tests.real.test_metrics
	HADESGW_COUNTED_REQUESTS=100000 $(TRIAL) --temp-directory=build/trial tests.telemetry.test_series

.PHONY: test-real
test-real: .venv/test.stamp debian webclient  ## the slow real programs, each in a folder of tests/real; installs them
	@tools/suites.sh 1 $(filter $(ALONE),$(SLOW)) 2 $(filter-out $(ALONE),$(SLOW))

.PHONY: session-cycles
session-cycles: .venv/test.stamp debian | build  ## 200 coding sessions that go wrong, of the real Codex too; installs it
	HADESGW_REAL=1 HADESGW_SESSION_CYCLES=200 $(TRIAL) --temp-directory=build/trial-real tests.real.codex.test_cycles

.PHONY: format
format: .venv/lint.stamp  ## lay the Python files out anew
	$(BIN)/ruff check --quiet --fix . || true
	$(BIN)/ruff format --quiet .

# ---- measure it --------------------------------------------------------------------------------------------------

.PHONY: bench
bench: .venv-bench/run.stamp debian  ## side by side with nginx: a table, and figures in JSON
	.venv-bench/bin/python -m benchmarks

# Of an interpreter built with profile-guided optimisation, if $(PYTHON) or the system's own is one.
.venv-bench/run.stamp: requirements/run.lock
	@python=$$($(PYTHON) -m benchmarks.interpreter $(PYTHON) /usr/bin/python3) \
	    && echo "installing $< for $$python into .venv-bench" && $$python -m venv --clear .venv-bench
	@.venv-bench/bin/$(INSTALL) --require-hashes -r $<
	@touch $@

.PHONY: soak
soak: .venv/test.stamp  ## MINUTES=30 of mixed load with departures and errors: nothing may be left over
	$(BIN)/python -m tests.real.soak --minutes $(MINUTES)

.PHONY: search
search: .venv/test.stamp debian | build  ## all tests again and again for MINUTES=30, in other orders with other examples
	@end=$$((SECONDS + 60 * $(MINUTES))); while ((SECONDS < end)); do \
	    HYPOTHESIS_PROFILE=search $(TRIAL) --random=0 --temp-directory=build/trial-soak tests; done

# ---- the web client ----------------------------------------------------------------------------------------------
# A source package brings it built, and perhaps without its sources.

NPM := npm --prefix webclient
MODULES := webclient/node_modules/.package-lock.json
DIST := hadesgw/webclient_dist/index.html
CLIENT_SOURCES := $(shell find webclient/src webclient/public webclient/tools -type f 2>/dev/null) \
    $(addprefix webclient/,index.html package.json tsconfig.json vite.config.ts)
export HADESGW_PYTHON ?= $(abspath $(BIN)/python)

.PHONY: webclient
webclient: $(DIST)  ## the web client, built into hadesgw/webclient_dist

$(MODULES): webclient/package-lock.json
	@command -v npm >/dev/null || { echo "the web client wants Node 20 with npm" >&2; exit 1; }
	@echo "installing $< into webclient/node_modules"
	@$(NPM) ci --silent --no-audit --no-fund
	@touch $@

$(DIST): $(MODULES) $(CLIENT_SOURCES)
	@$(NPM) run --silent build

.PHONY: webclient-dev
webclient-dev: $(MODULES)  ## the web client at http://localhost:3000 with live reload; run a gateway beside it
	@exec $(NPM) run --silent dev

.PHONY: webclient-static
webclient-static: $(DIST) | build  ## the web client for any host, told where its gateway is by webclient/.env.local
	@node webclient/tools/static.mjs build/webclient/static

.PHONY: webclient-test
webclient-test: $(DIST) .venv/run.stamp debian | build  ## types, unit tests, size, and the browser's walk through every state
	$(NPM) run --silent check
	$(NPM) run --silent test
	$(NPM) run --silent size
	$(NPM) run --silent e2e

.PHONY: webclient-pictures
webclient-pictures: build/webclient/states  ## the pictures of docs/webclient.md, anew from those of webclient-test
	@cp $</tool-waiting-wide-light.png docs/pictures/webclient-tool.png
	@cp $</inspector-stream-wide-light.png docs/pictures/webclient-stream.png
	@cp $</memory-wide-light.png docs/pictures/webclient-memory.png

.PHONY: webclient-bench
webclient-bench: $(DIST) .venv/run.stamp debian | build  ## what the page weighs and how fast it is: a table, and figures in JSON
	$(NPM) run --silent bench

# ---- the environment ---------------------------------------------------------------------------------------------

build:
	@mkdir -p $@

.venv/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "hadesgw needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv \
	    || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

.venv/run.stamp: requirements/build.lock requirements/run.lock pyproject.toml .venv/made.stamp
	@echo "installing hadesgw into .venv"
	@$(PIP) --require-hashes -r requirements/build.lock -r requirements/run.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/test.stamp .venv/lint.stamp: .venv/%.stamp: requirements/%.lock .venv/run.stamp
	@echo "installing $< into .venv"
	@$(PIP) --require-hashes -r $<
	@touch $@

.PHONY: debian
debian:
	@tools/debian.sh

.PHONY: lock
lock: .venv/made.stamp  ## make requirements/*.lock anew (UPGRADE=1 for the newest of everything)
	$(PIP) uv==$(UV_VERSION)
	UV=$(BIN)/uv tools/lock.sh

.PHONY: clean
clean:  ## remove what these commands made in the tree
	rm -rf .venv .venv-bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis hadesgw/webclient_dist
	rm -rf webclient/node_modules _trial_temp* .coverage* twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:
	@grep -hE '^[a-z-]+:.*  ## ' Makefile | sed -E 's/^([a-z-]+):.*  ## (.*)/make \1\t\2/' | expand -t 20
