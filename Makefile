# What people run. Everything installs into .venv with the pinned versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE ?= 1
PORT ?= 3000

.DEFAULT_GOAL := help
.PHONY: help install browser demo run test test-all day lint format bench real clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## make .venv and install flowlake with its pinned dependencies

browser: ## a Chromium for the page tests where apt can install one (they skip with the reason where there is none)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

demo: install ## simulated market -> lake -> report, then the Dagster UI (SERVE=0 stops before serving)
	$(BIN)/flowlake demo $(if $(filter 0,$(SERVE)),--no-serve,--serve) --port $(PORT)

run: install ## the Dagster UI and daemon against the real API (MASSIVE_API_KEY or POLYGON_API_KEY)
	$(BIN)/flowlake run --port $(PORT)

test: install ## the default test suite
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not real_data"

test-all: install ## the slow tests and those that read ../shared/data
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "slow or real_data"

day: install ## a simulated day at 60x with everything going wrong: 8 minutes on a quiet machine
	$(BIN)/python -m pytest -q -s -m slow flowlake_tests/defs/test_simulated_day.py

lint: install ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: install ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

real: install ## 47 recorded sessions of 148 underlyings through HTTP into an empty lake (needs ../shared/data)
	$(BIN)/python -m benchmarks.real_sessions

bench: install ## every benchmark, as ratios against named alternatives
	$(BIN)/python -m benchmarks

clean: ## delete the lake, the reports and Dagster's history (not .venv)
	find data reports -mindepth 1 ! -name README.md -delete
