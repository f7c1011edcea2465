# Two commands set up everything on a fresh machine, and a third measures it:
#   make demo    builds the environment and a real atlas, and serves the explorer   (SERVE=0 stops before serving)
#   make test    builds the environment and passes every test, the browser's included
#   make bench   measures what the project does beside what people use instead   (QUICK=1: small sizes; BENCH=extract: one)
PYTHON ?= python3
SERVE ?= 1
VENV := .venv
BIN := $(VENV)/bin
# Two processes, each with whole files of tests: half of a test's time its browser, or the build it looks at, waits.
SIDE_BY_SIDE ?= -n 2 --dist loadfile

.PHONY: demo test test-all bench check format screenshots sheets clean help

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/installed-demo
	@$(BIN)/atlas demo $(if $(filter 0,$(SERVE)),--no-serve)

test: $(VENV)/installed-test check
	@$(BIN)/atlas demo --no-serve
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# The long ones too: published figures, hundreds of kills.
test-all: $(VENV)/installed-test check
	@$(BIN)/atlas demo --no-serve
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "long or not long" --timeout 3600

# The benchmarks beside what people use instead; writes docs/benchmarks.md. QUICK=1 tries them at small sizes.
bench: $(VENV)/installed-test
	@$(BIN)/atlas demo --no-serve
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(BENCH)

check: $(VENV)/installed-test
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/installed-test
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

$(VENV)/installed-%: pyproject.toml constraints.txt .ci/environment.py
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON): install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) .ci/environment.py $*

# The pictures of the explorer in docs/, taken anew from the demo's atlas.
screenshots: $(VENV)/installed-test
	@$(BIN)/atlas demo --no-serve && $(BIN)/python -m tests.browser.screenshots cache/fashion-mnist docs

# The contact sheets of preferred inputs and icons in docs/, of real colour networks, drawn anew; most of an hour.
sheets: $(VENV)/installed-test
	@$(BIN)/python -m benchmarks._sheets_all

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache
