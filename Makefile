# Daisy: `make run` and `make test` are the two commands. Both install first; both need only Python and make.
PYTHON ?= python3
VENV := .venv
# torch comes first and pinned: a bare `torch` can pull several GB of CUDA packages onto a machine
# without a GPU. For another build: make install TORCH='torch==2.13.0 --index-url URL-OF-THE-BUILD';
# later calls keep that choice.
TORCH ?= $(or $(shell cat $(VENV)/.torch 2>/dev/null),torch==2.13.0)

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run demo test test-all check install format lint types walls bench clean FORCE

run: install  ## open the control center
	@$(BIN)/daisy

demo: install  ## train the demo model on the bundled novels, or go on with it, and print what it writes
	@if ls -d runs/*-demo/checkpoints/latest >/dev/null 2>&1; \
	  then $(BIN)/daisy train --resume demo; else $(BIN)/daisy train demo; fi
	@$(BIN)/daisy sample demo --prompt "Emma Woodhouse" --max_tokens 120

test: install  ## the test suite, without what takes long: real processes, pictures of screens
	@$(BIN)/python -m pytest -n auto -m "not long"

test-all: install  ## the whole test suite, as CI runs it
	@$(BIN)/python -m pytest -n auto

check: format lint types walls test-all  ## everything that must be green before a commit

format: install
	@$(BIN)/ruff format .

lint: install
	@$(BIN)/ruff check .

types: install
	@$(BIN)/mypy

walls: install
	@$(BIN)/lint-imports

bench: install  ## speed, as ratios in one run
	@$(BIN)/python -m benchmarks.bench_data
	@$(BIN)/python -m benchmarks.bench_train
	@$(BIN)/python -m benchmarks.bench_runs
	@$(BIN)/python -m benchmarks.bench_curves
	@$(BIN)/python -m benchmarks.bench_decode
	@$(BIN)/python -m benchmarks.bench_serve
	@$(BIN)/python -m benchmarks.bench_chart
	@$(BIN)/python -m benchmarks.bench_dashboard
	@$(BIN)/python -m benchmarks.bench_tui

install: $(INSTALLED)  ## build .venv with everything that running, testing and benchmarks need

$(INSTALLED): pyproject.toml constraints.txt $(VENV)/.torch
	@echo "1/2 Installing $(TORCH) into $(VENV) (the first time takes a minute or more) ..."
	@cmp -s $(VENV)/.torch $@ || $(PIP) uninstall --yes torch
	@$(PIP) install $(TORCH)
	@echo "2/2 Installing Daisy, its tools and its tests ..."
	@$(PIP) install -e '.[dev]' -c constraints.txt
	@cp $(VENV)/.torch $@

# Changes only when TORCH does, so that another build replaces the one that is there.
$(VENV)/.torch: FORCE
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Daisy needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Cannot make $(VENV). On Debian or Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 2; }
	@echo '$(TORCH)' | cmp -s - $@ || echo '$(TORCH)' > $@

clean:  ## remove what install and the tools made; data and runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
