# Hermes: `make` lists what there is to make.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
PYTEST := $(PYTHON) -m pytest
# Two runs of tests at once, for much of any is waiting; their lines begin with 1 and 2.
AT_ONCE := $(MAKE) --no-print-directory --keep-going --jobs=2
PIPEFAIL := set -o pipefail;
LINES_OF = 2>&1 | sed --unbuffered 's/^/$(1)| /'
# The first of the two runs of `make test`; the second has all others.
FIRST := unit contract abuse integration/docker integration/images integration/sandbox \
  integration/toolchain integration/examples integration/embedded integration/supervisor \
  acceptance/docker gpu chaos

.PHONY: help setup demo test test-1 test-2 test-containers unit lint chaos abuse gpu bench lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install everything Hermes needs and leave .venv/bin/hermes
	@bash infra/setup.sh

demo: setup ## Start Hermes and watch it do its main job (leaves only .demo/)
	@$(PYTHON) -m examples.demo

test: setup lint ## Pass all the tests
	@$(AT_ONCE) test-1 test-2

test-1:
	@$(PIPEFAIL) $(PYTEST) $(FIRST:%=tests/%) $(call LINES_OF,1)

test-2:
	@$(PIPEFAIL) $(PYTEST) tests $(patsubst %,--ignore=tests/%,$(FIRST) bench containers) \
	  $(call LINES_OF,2)

unit: setup ## Pass the fast tests alone
	@$(PYTEST) tests/unit

lint: setup ## Check style, types and the direction of imports
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache

test-containers: setup ## Pass the tests that lean on Kafka and PostgreSQL with both in containers
	@HERMES_TEST_SERVERS=containers $(PYTEST) tests/containers tests/acceptance/test_main_job.py \
	  tests/integration/log tests/integration/projections tests/integration/streams \
	  tests/integration/server/test_{outages,requests,runs,tails}.py

chaos: setup ## Run 1,000 executions while everything is killed in turn
	@HERMES_CHAOS_EXECUTIONS=1000 $(PYTEST) -s tests/chaos

abuse: setup ## Attack both sandboxes and print the table
	@$(PYTHON) -m tests.abuse

gpu: setup ## Try out a real GPU, where there is one
	@$(PYTEST) -s tests/gpu

bench: setup ## Measure Hermes beside plain exec and bare bubblewrap, in one run
	@$(PYTHON) -m tests.bench

lock: setup ## Pin every dependency anew, by version and hash
	@$(VENV)/bin/pip install --quiet pip-tools
	@CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile --quiet --generate-hashes --allow-unsafe \
	  --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header \
	  --extra server --extra embedded --extra test --output-file requirements/all.txt pyproject.toml

clean: ## Remove what setup and the demo made here
	@rm -rf .venv .setup .demo build ./*.egg-info
