# make demo    train on the built-in data, export, swap, generate; leaves pictures to look at
# make test    the whole test suite
# make check   format, lint, types, import rules
# make bench   all benchmarks, and docs/performance.md from what they found
# make clean   remove all that these made
# Each sets up the virtual environment it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
DEMO ?= demo

.PHONY: demo test check format bench clean setup

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,train,audio,video,tune,dev]'
	@touch $@

demo: setup
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	cd $(DEMO) && PATH="$(BIN):$$PATH" sh "$(CURDIR)/examples/demo.sh"

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy sdkit tests benchmarks
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m benchmarks.compare --count 512
	$(BIN)/python -m benchmarks.efficiency
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.live_stream
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.report

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage
