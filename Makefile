# `make help` lists the targets. Everything is installed into .venv from PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

MODEL ?= models/resnet20-cifar10-w2a2.onnx
IMAGES ?= models/cifar10-test-8.npz
LIMIT ?=
PRESET ?=
SIM ?= verilator
BOARD ?= ulx3s
STUDY ?= counting lanes widths scaling peers batch
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup sim sim-large waves profile explore calibrate study bitstream bench flash test lint format data doctor lock docs clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "variables: MODEL IMAGES LIMIT PRESET SIM=verilator|icarus (make sim), BOARD (make bitstream)"

setup: $(READY) ## install everything into .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python must be 3.11 or newer, not $$($(PYTHON) --version)" >&2; exit 1; }
	@echo "setting up $(VENV) (once; about two minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@echo "preparing the synthesis tools (once; about half a minute)"
	@for tool in "yosys -V" "nextpnr-ecp5 --version" "ecppack --version"; do \
	  $(BIN)/yowasp-$$tool >/dev/null 2>&1 || { echo "error: yowasp-$$tool must run" >&2; exit 1; }; \
	done
	@touch $@

sim: $(READY) ## co-verify MODEL on the RTL, bit for bit
	@$(BIN)/python -m sim $(MODEL) --images $(IMAGES) $(if $(PRESET),--preset $(PRESET)) --simulator $(SIM) \
	  $(if $(LIMIT),--limit $(LIMIT)) $(ARGS)

sim-large: $(READY) ## co-verify the networks of the paper in full size (hours; goes on where it was)
	@$(BIN)/python -m sim.large $(ARGS)

waves: $(READY) ## open the waveform of the last mismatch
	@$(BIN)/python -m sim.waves

profile: $(READY) ## show what takes MODEL's cycles, layer by layer
	@$(BIN)/lqfpga profile $(MODEL) $(if $(PRESET),--preset $(PRESET)) $(ARGS)

explore: $(READY) ## search the accelerator that suits MODEL and BOARD best
	@$(BIN)/lqfpga explore $(MODEL) --board $(BOARD) $(ARGS)

calibrate: $(READY) ## synthesise the set that the area model of explore is fitted on
	@$(BIN)/lqfpga calibrate $(ARGS)

study: $(READY) ## measure again what docs/studies say (STUDY=NAME; all without it)
	@$(BIN)/lqfpga study $(STUDY) $(ARGS)

bitstream: $(READY) ## build the bitstream for BOARD
	@$(BIN)/lqfpga bitstream --board $(BOARD) $(ARGS)

bench: $(READY) ## measure area, clock, cycles and speeds (builds the bitstream if needed)
	@$(BIN)/lqfpga bench $(MODEL) --images $(IMAGES) --board $(BOARD) $(if $(LIMIT),--limit $(LIMIT)) $(ARGS)

flash: $(READY) ## program BOARD
	@$(BIN)/lqfpga flash --board $(BOARD) $(ARGS)

test: $(READY) ## run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(READY) ## format check, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright

format: $(READY) ## format the sources
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

data: $(READY) ## fetch CIFAR-10 into the cache
	@$(BIN)/python -m golden.data $(ARGS)

doctor: $(READY) ## check the tools
	@$(BIN)/lqfpga doctor

docs: $(READY) ## regenerate docs/isa.md from hw/isa.py
	@$(BIN)/python -m hw.isa_document > docs/isa.md

lock: ## rewrite requirements.lock from pyproject.toml
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check .[dev] setuptools
	@build/lock/bin/pip freeze --exclude lqfpga | sed 's/+cpu$$//' > requirements.lock
	@rm -rf build/lock

clean: ## remove build results
	@rm -rf build
