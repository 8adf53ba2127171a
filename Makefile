# Two commands to know: `make demo` runs the whole workflow on its embedded default, `make test` passes the tests.
# Paths are relative to this folder, so that it may stand anywhere.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?=
CORES ?= all
TABLE ?= results/tables/miniature/table.md
SNAKEMAKE_OPTIONS ?=
# SEEDS=3 trains with the seeds 1, 2 and 3, for the experiment of TABLE.
SEEDS ?=
EXPERIMENT = $(notdir $(patsubst %/,%,$(dir $(TABLE))))
SEEDS_OPTION = $(if $(SEEDS),--config "overrides={experiments.$(EXPERIMENT).seeds: [$$(seq -s , 1 $(SEEDS))]}")
# Without a GPU two models share the cores: one loads while the other computes, and two half machines do more than a whole.
NO_GPU := $(if $(wildcard /dev/nvidia[0-9]*),,--resources gpu=2 --max-threads $$(( ($$(nproc) + 1) / 2 )))
BIN := .venv/bin
# Tests run on all cores, up to eight. Each worker starts with a part of its own, so that neighbours share their fixtures.
WORKERS ?= auto
PARALLEL := -n $(WORKERS) --maxprocesses 8 --dist worksteal
PYTHON_FILES := workflow tests envs .ci docs

# Programs of the environment come first, also in the shell commands of the rules.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  Settings: CORES=4  WORKERS=2  SNAKEMAKE_OPTIONS='--configfile config/small.yaml'  PYTHON=python3.12 (for a new .venv)"
	@echo "            SEEDS=3 (make demo: seeds 1 to 3)  TABLE=results/tables/<experiment>/table.md (the table that it shows)"

.PHONY: demo
demo: environment ## Run the default workflow and show its table (no GPU, no account)
	@[[ "$(SEEDS)" =~ ^([1-9][0-9]?)?$$ ]] || { echo "SEEDS=$(SEEDS): give a number from 1 to 99"; exit 2; }
	$(if $(and $(SEEDS),$(filter --config --config=% -C,$(SNAKEMAKE_OPTIONS))),$(error SEEDS and --config cannot be given together: \
	write `experiments.$(EXPERIMENT).seeds: [1,2,3]` into the overrides of --config))
	@mkdir -p work
	@$(BIN)/distillery plan --write work/forecast.json --run -- $(SNAKEMAKE_OPTIONS) $(SEEDS_OPTION) > work/plan.txt 2>&1 || true
	$(BIN)/snakemake --cores $(CORES) $(NO_GPU) --logger distillery $(SNAKEMAKE_OPTIONS) $(SEEDS_OPTION)
	@echo
	@$(BIN)/distillery table "$(TABLE)" -- $(SNAKEMAKE_OPTIONS)

.PHONY: test
test: environment ## Run all tests but those that kill jobs for minutes
	$(BIN)/pytest -m "not kill" $(PARALLEL) $(PYTEST_OPTIONS)

.PHONY: test-nightly
test-nightly: environment ## Kill jobs at random moments; every class of faults with 1,000 to 10,000 cases for each fuzzer
	DISTILLERY_BACKEND=auto $(BIN)/pytest tests/workflow/test_kill.py $(PYTEST_OPTIONS)
	HYPOTHESIS_PROFILE=nightly $(BIN)/pytest -m "reliability and not kill" $(PARALLEL) $(PYTEST_OPTIONS)

.PHONY: test-quick
test-quick: environment lint ## Lint, types and the tests that take seconds (under two minutes)
	$(BIN)/pytest tests/unit workflow/distillery -m "not slow and not e2e and not vllm and not golden" $(PARALLEL) $(PYTEST_OPTIONS)

.PHONY: reliability
reliability: environment ## Try every class of faults and write docs/reliability.md
	$(BIN)/pytest -m "reliability and not kill" --reliability write $(PARALLEL) $(PYTEST_OPTIONS)

.PHONY: mutants
mutants: environment ## Put faults into the code and see whether a test notices (hours; MUTANTS=sampling: one room, SAMPLE=150: part of it)
	@failed=0; \
	$(BIN)/python tests/mutants/run.py --baseline --file "$(MUTANTS)" || failed=1; \
	for room in $(or $(MUTANTS),verification training sampling programs peer_review evaluation jobs); do \
		$(BIN)/python tests/mutants/tool.py $$room $(if $(SAMPLE),--sample $(SAMPLE)) || failed=1; \
	done; \
	exit $$failed

.PHONY: lint
lint: environment ## Check style, format, types and the workflow; change nothing
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	PYTHONPATH=workflow $(BIN)/lint-imports --no-cache
	$(BIN)/deptry .

.PHONY: format
format: environment ## Format Python and Snakemake files in place
	$(BIN)/ruff check --fix $(PYTHON_FILES)
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/snakefmt Snakefile workflow/rules

.PHONY: schemas
schemas: environment ## Write workflow/schemas from the settings models
	$(BIN)/python -m distillery.cli schemas

.PHONY: documents
documents: environment ## Write the tables of README.md and docs/testing.md from docs/measured
	$(BIN)/python docs/generate.py

.PHONY: conda
conda: environment ## Write the conda files of envs/ from pyproject.toml and the lock
	$(BIN)/python envs/generate.py

.PHONY: bench
bench: environment ## Measure speed against plain baselines: one JSON line per figure
	$(BIN)/python tests/bench/run.py $(BENCH_OPTIONS)

.PHONY: environment
environment: ## Make or update .venv (done by every other target)
	@$(or $(PYTHON),python3) envs/setup_environment.py $(if $(PYTHON),--python "$(PYTHON)")

.PHONY: clean-results
clean-results: ## Remove results, logs and benchmarks after asking; the caches stay
	@if [ "$${CONFIRM:-}" != yes ]; then \
		read -r -p "Remove results/, logs/ and benchmarks/? The caches stay. Type yes: " CONFIRM; \
		[ "$$CONFIRM" = yes ] || { echo "nothing removed"; exit 1; }; \
	fi; \
	rm -rf results logs benchmarks
