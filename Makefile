# make demo    train on the built-in data, export, swap, generate; leaves pictures to look at
# make test    the whole test suite
# make check   format, lint, types, import rules
# make hosts   build the hosts in other languages, and hold each against the conformance set: one table
# make hostile mutated files through every command, kills, races, full disks: CASES=10000 KILLS=100 SEED=0
# make bench   all benchmarks, and docs/performance.md from what they found
# make clean   remove all that these made
# Each sets up the virtual environment it needs; hosts also installs compilers, node and a browser (make hosts-setup).

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
DEMO ?= demo
# HOSTS=--all: a host that cannot run here is a failure
HOSTS ?=
CASES ?= 2000
KILLS ?= 40
SEED ?= 0

.PHONY: demo test check format hosts hosts-setup hostile bench clean setup

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,train,audio,video,tune,hosts,dev]'
	@touch $@

demo: setup
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	cd $(DEMO) && PATH="$(BIN):$$PATH" sh "$(CURDIR)/examples/demo.sh"

# A process a processor, a file of tests at a time; without -n, pytest runs them one after the other.
test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy sdkit tests benchmarks
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

hosts-setup: setup
	sh examples/setup-hosts.sh

hosts: hosts-setup
	$(BIN)/python -m tests.hosts.table --build build/hosts $(HOSTS)

hostile: setup
	$(BIN)/python -m tests.hostile --cases $(CASES) --kills $(KILLS) --seed $(SEED)

bench: setup
	$(BIN)/python -m benchmarks.efficiency
	$(BIN)/sdkit export build/benchmarks/runs/sprites --precision int8 -o build/benchmarks/int8 --force
	$(BIN)/python -m benchmarks.compare --count 512 --bundle int8=build/benchmarks/int8
	$(BIN)/python -m benchmarks.growth --sequences 1000 10000 100000
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.live_stream
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.report

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage
