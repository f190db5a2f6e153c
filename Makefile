# Every target sets up what it needs: python3.11 (or newer) and the package index are enough.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# python3.11 if there is one that runs (a version manager's shim may not), else python3.
PYTHON ?= $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo python3)

VENV := .venv
BIN := $(VENV)/bin
# The oldest runtime that is supported, with the generator of that release: requirements/floor.in.
FLOOR := .venv-floor

WORKERS ?= 2
OUT ?= .
LOCKS := client server authoring dev prove

# Exact names as pip-licenses prints them. No GPL, LGPL or AGPL: Portcullis is Apache-2.0.
# MPL and ZPL are weak copyleft on their own files, which are not changed here.
LICENCES_ALLOWED := 0BSD;3-Clause BSD License;Apache Software License;$\
	Apache Software License; MIT License;Apache-2.0;Apache-2.0 AND BSD-2-Clause;Apache-2.0 OR BSD-2-Clause;$\
	Apache-2.0 OR BSD-3-Clause;Apache-2.0 OR MIT;BSD License;BSD-2-Clause;BSD-3-Clause;$\
	DFSG approved; MIT License;ISC License (ISCL);MIT;MIT AND PSF-2.0;MIT License;MIT-0;$\
	MPL-2.0;Mozilla Public License 2.0 (MPL 2.0);PSF-2.0;Python Software Foundation License;$\
	ZPL-2.1
# Read by hand: the metadata of atheris, cedarpy and cel-python names no licence, kubernetes-validate's says
# `Apache`. The LICENSE file of each says Apache-2.0.
LICENCES_READ := atheris cedarpy cel-python kubernetes-validate

.PHONY: help
help: ## this text
	@echo 'Portcullis: a policy decision point whose every failure is a denial.'
	@echo
	@echo 'Start here:  make demo     then:  make test'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'The first call makes $(VENV) from requirements/dev.txt, every package checked by hash.'
	@echo 'Variables: PYTHON (now $(PYTHON)), WORKERS (test processes, now $(WORKERS)).'

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) \
	  and f"make: python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@# The build warns at length that an editable install is an editable install.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-prove: requirements/prove.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/prove.txt
	@touch $@

$(FLOOR)/.installed: requirements/floor.txt
	test -x $(FLOOR)/bin/python || $(PYTHON) -m venv $(FLOOR)
	$(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/floor.txt
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## make the environment, and nothing else

.PHONY: demo
demo: $(VENV)/.installed ## sign a bundle, serve it, ask, then break things and watch it deny
	@$(BIN)/python -m docs.demo

.PHONY: envoy
envoy: $(VENV)/.installed ## a real Envoy in front of a service, the PDP behind it; then it breaks
	@$(BIN)/python -m docs.examples.envoy

.PHONY: lint
lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy pdp clients/python tests docs loadtests

.PHONY: test
test: lint $(FLOOR)/.installed ## lint, then every test but the long proofs
	$(BIN)/pytest -n $(WORKERS)

.PHONY: prove
prove: $(VENV)/.installed-prove $(FLOOR)/.installed ## the long proofs; keeps seeds and counts in docs/proofs/
	PORTCULLIS_LEDGER=docs/proofs/ledger.json $(BIN)/pytest -m prove --timeout=3600

.PHONY: bench
bench: $(VENV)/.installed ## conditions, decisions and loading beside other engines; ONLY=conditions
	@$(BIN)/python -m loadtests.bench $(if $(ONLY),--only $(ONLY))

.PHONY: load
load: $(VENV)/.installed ## two minutes of load scenarios on localhost, held to their budgets; report in build/
	@mkdir -p build
	@$(BIN)/python -m loadtests.load --seconds 120 --report build/load.html

.PHONY: licences
licences: $(VENV)/.installed ## refuse a dependency with a licence that is not on the list
	@$(BIN)/pip-licenses --with-system --ignore-packages portcullis $(LICENCES_READ) \
	  --allow-only='$(LICENCES_ALLOWED)' --summary

.PHONY: sbom
sbom: $(VENV)/.installed ## CycloneDX bills of materials, from the locks, in build/
	@mkdir -p build
	@for lock in client server authoring; do \
	  $(BIN)/python -W ignore -m cyclonedx_py requirements requirements/$$lock.txt \
	    --pyproject pyproject.toml --output-reproducible -o build/sbom-$$lock.cdx.json; \
	  echo "build/sbom-$$lock.cdx.json"; \
	done

.PHONY: advisories
advisories: $(VENV)/.installed ## known vulnerabilities in any lock; needs the advisory database
	@for lock in $(LOCKS); do \
	  $(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements/$$lock.txt || { \
	    echo "make: requirements/$$lock.txt: vulnerable, or the advisory database was not reached: not audited"; \
	    exit 1; }; \
	done

.PHONY: audit
audit: licences sbom advisories ## all three: licences, SBOM, vulnerabilities

.PHONY: proto
proto: $(FLOOR)/.installed ## generate pdp/v1 from proto/ with the oldest supported generator
	$(FLOOR)/bin/python -m grpc_tools.protoc -Iproto --python_out=$(OUT) --pyi_out=$(OUT) proto/pdp/v1/*.proto
	$(FLOOR)/bin/python -m grpc_tools.protoc -Iproto --grpc_python_out=$(OUT) proto/pdp/v1/authorization.proto
	@# What is new is published from now on: tests/test_compatibility.py.
	@test "$(OUT)" != . || test ! -x $(BIN)/python || $(BIN)/python -m tests.test_compatibility

.PHONY: threats
threats: $(VENV)/.installed ## generate docs/threat-model/README.md from the models beside it
	@$(BIN)/python -m tests.threat_models

.PHONY: operations
operations: $(VENV)/.installed ## generate the tables of docs/operations.md from the code
	@$(BIN)/python -m docs.operations

# No index URLs and no hosts in a lock: where packages come from is the machine's business.
PIP_COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url \
	--no-emit-find-links --strip-extras --allow-unsafe --no-header $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: $(VENV)/.installed ## recompute requirements/*.txt; UPGRADE=1 takes newer releases
	$(PIP_COMPILE) --extra server --extra authoring --extra dev -o requirements/dev.txt pyproject.toml
	$(PIP_COMPILE) --extra server -c requirements/dev.txt -o requirements/server.txt pyproject.toml
	$(PIP_COMPILE) --extra authoring -c requirements/dev.txt -o requirements/authoring.txt pyproject.toml
	$(PIP_COMPILE) -c requirements/dev.txt -o requirements/client.txt pyproject.toml
	$(PIP_COMPILE) --extra prove -c requirements/dev.txt -o requirements/prove.txt pyproject.toml
	$(PIP_COMPILE) -c requirements/dev.txt -o requirements/build.txt requirements/build.in
	$(PIP_COMPILE) -o requirements/floor.txt requirements/floor.in

.PHONY: clean
clean: ## remove environments and everything that was built
	rm -rf $(VENV) $(FLOOR) build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pdp clients tests docs loadtests -name __pycache__ -type d -prune -exec rm -rf {} +
