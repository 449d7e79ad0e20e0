# Two commands matter: `make demo` and `make test`. Both set up what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check guard figures format faults release-check lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## make the virtual environment and install everything from the lock file

$(STAMP): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=python3.11 (this is $$($(PYTHON) -V))" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV) …"; $(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv" >&2; exit 1; }; }
	@echo "installing from requirements-dev.lock (a minute on a new machine) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## six nodes, real products, resolved and verified; ARGS=--once ends by itself
	@scripts=.ci/optional-packages; test -x $$scripts && $$scripts hwdata ieee-data || true
	@$(BIN)/biaoshi demo $(ARGS)

test: $(STAMP) ## every test; what fails beside others is tried once more alone
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS) || { test $$? -eq 1 && \
	echo "once more, alone: a test of real processes may starve beside others; a defect fails again" && \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(ARGS); }

FAULTS := tests/faults tests/registry/test_crash.py tests/registry/test_store_faults.py
FIGURES := docs/reliability.json
COUNTS ?= BIAOSHI_NODE_KILLS=1000 BIAOSHI_KILLS=200 BIAOSHI_POWER_IMAGES=10000 BIAOSHI_FLIPS=1000 \
	BIAOSHI_DISK_FAULTS=1000 BIAOSHI_HOSTILE_TILES=10000 BIAOSHI_CLOCK_JUMPS=50 BIAOSHI_PARTITIONS=10
CHANGES ?= 1000000

faults: $(STAMP) ## kills, power loss, failing disks, rot, partitions: a medium form, with figures
	@BIAOSHI_NODE_KILLS=40 BIAOSHI_KILLS=40 BIAOSHI_POWER_IMAGES=1500 BIAOSHI_FLIPS=150 \
	BIAOSHI_DISK_FAULTS=150 BIAOSHI_HOSTILE_TILES=1500 BIAOSHI_CLOCK_JUMPS=12 BIAOSHI_PARTITIONS=3 \
	$(BIN)/python -m pytest -s $(FAULTS) $(ARGS)

release-check: $(STAMP) ## the fault campaign in full (half an hour, an idle machine); figures to docs/
	@$(COUNTS) BIAOSHI_GATES=1 BIAOSHI_FIGURES=$(FIGURES) $(BIN)/python -m pytest -s $(FAULTS) $(ARGS)
	@$(BIN)/python -m bench.mirrors --changes $(CHANGES) --seconds 20 --out $(FIGURES)

check: $(STAMP) ## format, lint, strict types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

guard: $(STAMP) ## count the hot paths' instructions (valgrind), against the last commit
	@$(BIN)/python -m bench.guard $(ARGS)

figures: $(STAMP) ## measure what the goals are judged by (about ten minutes, a quiet machine)
	@$(BIN)/python -m bench.figures $(ARGS)

format: $(STAMP) ## rewrite the layout and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## write the lock files anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra fast -o requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra fast --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean: ## remove the virtual environment and the demo's folder
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
