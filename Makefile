# `make optimize` and `make test` do all set-up on a machine with make and Python 3.11 or newer.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# --no-compile: bytecode is left to first use; it saves two fifths of the installation.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --prefer-binary -c constraints.txt

.PHONY: optimize test check bench-train bench-iou bench-search clean
.DELETE_ON_ERROR:

optimize: .venv/.installed
	$(BIN)/autoseg optimize --max-latency 33ms --min-iou 0.95 $(ARGS)

# Bytecode is kept even where the environment forbids it: without it each process compiles torch.
test check: export PYTHONDONTWRITEBYTECODE :=
test: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: .venv/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check $(ARGS)

bench-train: .venv/.installed-dev
	$(BIN)/python benchmarks/train_speed.py $(ARGS)

bench-iou: .venv/.installed-dev
	$(BIN)/python benchmarks/seconds_to_iou.py $(ARGS)

bench-search: .venv/.installed-dev
	$(BIN)/python benchmarks/search.py $(ARGS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "autoseg needs Python 3.11 or newer, and '$(PYTHON)' is not that;" \
	       "name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "'$(PYTHON)' cannot make virtual environments; on Debian or Ubuntu:" \
	       "apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) -e .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) -e '.[dev]'
	@touch .venv/.installed $@

clean:
	rm -rf .venv
