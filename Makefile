# Everything a newcomer types. Only Python >= 3.11 and make are needed: uv is fetched into the environment itself.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
BIN := $(VENV)/bin
LAB ?= demo-lab
PORT ?= 3000
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never

.PHONY: install demo ui lint test simulate bench docs clean

$(VENV)/.installed: pyproject.toml uv.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet 'uv>=0.9'
	@$(UV) sync --quiet --frozen --all-extras --inexact
	@touch $@

install: $(VENV)/.installed

# A small lab in $(LAB), reconciled; SERVE=1 leaves the Dagster UI on http://127.0.0.1:$(PORT).
demo: install
	$(BIN)/fusion demo $(LAB) --port $(PORT) $(if $(SERVE),--serve)

# The Dagster UI of a configured lab: make ui CONFIG=/path/to/config.toml
ui: install
	$(BIN)/fusion ui --port $(PORT) $(if $(CONFIG),--config $(CONFIG))

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Everything, the real servers included; what a laptop lacks (Samba) is skipped there and an error in CI. Three workers on two
# cores: each waits half of the time. Coverage costs 40 % more processor time, so only the rooms' own tests are measured.
PYTEST := $(BIN)/pytest -n 3 --dist loadgroup
test: install
	$(PYTEST) --cov --cov-report=term:skip-covered --ignore tests/real --ignore tests/simulation $(ARGS)
	$(PYTEST) tests/real tests/simulation $(ARGS)

# A lab lives through a month in minutes, whatever fails in it: make simulate ARGS="--days 7 --seed 2"
simulate: install
	$(BIN)/python -m tests.simulation $(ARGS)

# Ours beside rclone, rsync and a plain loop, then the cost of planning, the ledger and Dagster; writes docs/benchmarks.md.
# Takes an hour.
bench: install
	$(UV) sync --quiet --frozen --all-extras --inexact --group bench
	$(BIN)/python -m benchmarks.run --markdown
	$(BIN)/python -m benchmarks.planning --markdown
	$(BIN)/python -m benchmarks.ledger --markdown
	$(BIN)/python -m benchmarks.orchestration --markdown
	$(BIN)/python -m benchmarks.ticks --markdown
	$(BIN)/python -m benchmarks.log_tail --markdown
	$(BIN)/python -m benchmarks.idle --markdown

# The documents that are made from the code.
docs: install
	$(BIN)/python -m fusion_assets.standard.document

clean:
	rm -rf $(VENV) $(LAB) .fusion
