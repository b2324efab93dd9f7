# Two commands: `make demo` shows everything, `make test` checks everything. Both do all set-up by themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VERAPDF := .tools/verapdf/.complete
NPM := .tools/npm/.complete

export OMP_THREAD_LIMIT := 1

.PHONY: help setup setup-tests demo test lint up bench screens clean

help:
	@echo "make demo    draw sample batches and run them to PDF/A packages, a film roll and a bill"
	@echo "make test    every test and check"
	@echo "make up      run the embedded installation (PLATEN_HOME, default ./platen-home)"
	@echo "make bench   the figures that the README claims, beside the peers"
	@echo "make screens take the pictures of docs/console.md"
	@echo "make lint    style, types, import contracts"

setup: $(VENV)/.complete

$(VENV)/.complete: requirements.lock pyproject.toml
	@bash bench/system_packages.sh run
	@$(MAKE) --no-print-directory venv

.PHONY: venv
venv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $(VENV)/.complete

setup-tests: setup .tools/.packages $(VERAPDF) $(NPM)

.tools/.packages: bench/system_packages.sh
	@bash bench/system_packages.sh test
	@mkdir -p .tools && touch .tools/.packages

$(VERAPDF): tests/tools/verapdf-pom.xml | .tools/.packages
	rm -rf .tools/verapdf && mkdir -p .tools/verapdf
	mvn --quiet --batch-mode --file tests/tools/verapdf-pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.tools/verapdf
	@touch $(VERAPDF)

$(NPM): tests/tools/package-lock.json | .tools/.packages
	rm -rf .tools/npm && mkdir -p .tools/npm
	cp tests/tools/package.json tests/tools/package-lock.json .tools/npm/
	npm ci --prefix .tools/npm --ignore-scripts --no-audit --no-fund --silent
	@touch $(NPM)

demo: setup
	$(BIN)/python -m console.demo demo-home

test: setup-tests lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not whole" -q
	$(BIN)/python -m pytest -n 2 --dist loadfile -m whole -q

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

up: setup
	@test -e "$${PLATEN_HOME:-platen-home}/ledger.db" || $(BIN)/platen init
	$(BIN)/platen up

bench: setup-tests
	$(BIN)/python -m bench

screens: setup-tests
	$(BIN)/python -m pytest -m whole -q tests/whole/test_console.py

clean:
	rm -rf $(VENV) .tools demo-home
