# Everything a developer or a new user does. Each target installs what it needs first; all it makes lies in .local/.
SHELL := /bin/bash
# A pipe fails with whatever fails in it.
.SHELLFLAGS := -o pipefail -c
PYTHON_LOCAL := .local/venv/bin/python
SANDBOX := $(PYTHON_LOCAL) -m include.sandbox

# Else each of Airflow's many processes would compile what it imports anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE
# Our own modules are found from here.
unexport PYTHONSAFEPATH

.PHONY: help setup demo down test test-all screenshots soak lint hooks format bench bench-images bench-airflow bench-nodes bench-ops docs lock compose-check

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: ## Install what is missing (Debian or Ubuntu, as root or with sudo)
	@scripts/bootstrap.sh

demo: setup ## Start everything on loopback and run country uk through the real scheduler (DEMO_IMAGES=500)
	@$(PYTHON_LOCAL) -m include.sandbox.demo

down: ## Stop what `make demo` started, and nothing else
	@if [ -x $(PYTHON_LOCAL) ]; then $(SANDBOX) stop; else echo "nothing was started from here"; fi

test: ## All tests but the long ones, the soak and the browser's
	@scripts/bootstrap.sh tests
	@$(PYTHON_LOCAL) -m pytest -n 3

test-all: test ## The same, then the long tests (tens of thousands of damaged pictures, slower faults), and those with a browser
	@$(PYTHON_LOCAL) -m pytest -n 3 -m long
	@scripts/bootstrap.sh browser
	@$(PYTHON_LOCAL) -m pytest -m browser tests/browser tests/differential

screenshots: ## Run the browser tests and keep their pictures for the documentation
	@scripts/bootstrap.sh browser
	@IMAGESYS_SCREENSHOTS=docs/screenshots $(PYTHON_LOCAL) -m pytest -m browser tests/browser

soak: ## Thirty simulated days with random faults (SOAK_DAYS=30 SOAK_SEED=1), some five minutes
	@scripts/bootstrap.sh tests
	@$(PYTHON_LOCAL) -m pytest -m soak -s tests/soak

lint: setup ## Format, lint, types, and who may import whom
	@.local/venv/bin/ruff format --check --quiet .
	@.local/venv/bin/ruff check --quiet .
	@.local/venv/bin/mypy
	@PYTHONPATH=plugins .local/venv/bin/lint-imports --no-cache | tail -n 3
	@.local/venv/bin/codespell
	@.local/venv/bin/deptry --no-ansi . 2>&1 | tail -n 20
	@$(PYTHON_LOCAL) -m scripts.docs --check

hooks: setup ## Let git call the formatter and the checks before each commit
	@.local/venv/bin/pre-commit install

format: setup ## Put the code into form
	@.local/venv/bin/ruff format --quiet .
	@.local/venv/bin/ruff check --fix --quiet .

bench: setup ## Measure the daily run
	@$(PYTHON_LOCAL) -m benchmarks.daily_run

bench-images: ## Measure the image engine beside its peers, then bench-airflow (with options in BENCH="--photos 500" not that)
	@scripts/bootstrap.sh bench
	@$(PYTHON_LOCAL) -m benchmarks.images $(BENCH)
	@$(if $(BENCH),true,$(PYTHON_LOCAL) -m benchmarks.airflow_overhead)

bench-airflow: setup ## Measure what the scheduler costs (options in BENCH="--images 1000,2000")
	@$(PYTHON_LOCAL) -m benchmarks.airflow_overhead $(BENCH)

bench-nodes: setup ## Measure push, check and refill of nodes with a million files (options in BENCH="--images 20000")
	@$(PYTHON_LOCAL) -m benchmarks.nodes $(BENCH)

bench-ops: setup ## Measure heal, plan and report on tables of up to three million images (options in BENCH="--rounds 3")
	@$(PYTHON_LOCAL) -m benchmarks.ops_scale $(BENCH)

docs: ## Make the pages that are made from code, and the diagram
	@scripts/bootstrap.sh docs
	@$(PYTHON_LOCAL) -m scripts.docs

LOCK := .local/tools/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url

lock: setup ## Resolve the dependencies of pyproject.toml anew (UPGRADE=--upgrade: to their newest versions)
	@$(LOCK) $(UPGRADE) pyproject.toml --extra airflow --extra dev --extra bench -o requirements-dev.lock
	@$(LOCK) --constraints requirements-dev.lock pyproject.toml --extra airflow -o requirements.lock
	@$(LOCK) --constraints requirements-dev.lock tests/browser/requirements.txt -o tests/browser/requirements.lock

compose-check: ## Check docker-compose.yml
	@scripts/bootstrap.sh tests
	@docker-compose --env-file include/docker/compose.env.example config --quiet && echo "docker-compose.yml is sound"
