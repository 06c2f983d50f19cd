VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv --no-config pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

.DEFAULT_GOAL := help
.PHONY: help setup up test check style types fast fix bench bench-peers figures docs services services-stop clean oracle fuzz simulate chaos chaos-planted lock

# Tests start Python a thousand times, and compiled modules are half of a start: they are kept whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
# Two processes of tests, for two cores; one that is done takes over from the other.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist worksteal
# What runs side by side prints in one piece when it is done, where make can do that.
SIDE_BY_SIDE := $(MAKE) --no-print-directory --jobs --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync)

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: $(VENV)/dev ## install everything for development into .venv

up: $(VENV)/runtime ## install what running needs, then start Rota on this machine
	$(BIN)/rota up --app examples.app:app

test: $(VENV)/dev ## run the whole test suite
	$(PYTEST)

check: $(VENV)/dev ## format, lint, types, layers, fast tests: under a minute
	@+$(SIDE_BY_SIDE) style types fast

style: $(VENV)/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports

types: $(VENV)/dev
	$(BIN)/mypy

# Three processes: these tests are small, and wait nearly as long as they work.
fast: $(VENV)/dev
	$(PYTEST) --numprocesses 3 tests/architecture tests/unit

fix: $(VENV)/dev ## format, and repair what the linter can repair
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/runtime ## measure throughput, latency, schedules and idling
	$(BIN)/rota bench throughput
	$(BIN)/rota bench latency
	$(BIN)/rota bench schedules
	$(BIN)/rota bench idle

bench-peers: $(VENV)/dev ## measure Rota beside its peers (PEERS="pgqueuer huey" RUNS=60000 ROUNDS=3 RESULTS=file)
	$(BIN)/python -m benchmarks $(if $(PEERS),--peers $(PEERS)) $(if $(RESULTS),--results $(RESULTS)) \
		--runs $(or $(RUNS),60000) --rounds $(or $(ROUNDS),3)

figures: $(VENV)/dev ## measure clusters on PostgreSQL: kills, crowds, outages, histories; all, or ONLY=takeover
	$(BIN)/python -m tests.figures $(ONLY)

services: $(VENV)/dev ## start private servers for tests and benchmarks, and print how to use them
	@$(BIN)/python -m tests.services start

services-stop: $(VENV)/dev ## end them
	@$(BIN)/python -m tests.services stop

docs: $(VENV)/dev ## regenerate the generated parts of docs/
	$(BIN)/python docs/generate.py

simulate: $(VENV)/dev ## whole clusters on a virtual clock, with faults: SEEDS=1000 FROM=0
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FROM),0)

oracle: $(VENV)/dev ## compare a million fire times with the slow oracle
	ROTA_ORACLE=1000000 $(BIN)/pytest tests/oracle

fuzz: $(VENV)/dev ## send the API about REQUESTS=100000 requests made of its spec, as everybody (SEED=3)
	ROTA_FUZZ=$(or $(REQUESTS),100000) ROTA_FUZZ_SEED=$(or $(SEED),3) $(PYTEST) tests/attacks/test_fuzz.py tests/attacks/test_stateful.py

chaos: $(VENV)/dev ## a fault campaign on real processes (MINUTES=10 SEED=1), its report into docs/chaos.md
	$(BIN)/python -m tests.chaos campaign $(or $(MINUTES),10) $(or $(SEED),1)

chaos-planted: $(VENV)/dev ## have the campaign look for each bug that is planted for it
	$(BIN)/python -m tests.chaos planted

lock: $(VENV)/dev ## pin the dependencies of pyproject.toml anew (UPGRADE=--upgrade for the newest)
	$(LOCK) $(UPGRADE) --group build --output-file requirements.txt
	$(LOCK) $(UPGRADE) --group dev --constraints requirements.txt --output-file requirements-dev.txt

clean: ## remove .venv, caches and built files
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps $(VENV)/runtime and $(VENV)/dev are younger than the requirements they were installed from.
$(VENV)/runtime: requirements.txt | $(VENV)/pyvenv.cfg
$(VENV)/dev: requirements-dev.txt | $(VENV)/pyvenv.cfg
$(VENV)/runtime $(VENV)/dev:
	$(PIP) install --require-hashes --requirement $<
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/pyvenv.cfg:
	python3 -m venv $(VENV)
