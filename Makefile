# make demo   the program on rendered hands: no camera, no GPU needed
# make test   all tests
# make lint   format, style and types
#
# PYTHON=python3.12 make demo   makes the environment with another Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JETSON := $(wildcard /etc/nv_tegra_release)
# On a Jetson the environment sees JetPack's own torch and tensorrt.
VENV_OPTIONS := $(if $(JETSON),--system-site-packages)

.PHONY: help demo test lint clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: $(VENV)/.installed
	$(BIN)/python -m pipeline.azure_kinect --source demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "$(PYTHON) is missing or older than 3.10: install a newer one and say PYTHON=python3.12 make ..." >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make environments: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: requirements.txt | $(BIN)/python
	@test -z "$(JETSON)" || $(BIN)/python -c 'import torch, torchvision' 2>/dev/null || { \
	    echo "install NVIDIA's torch and torchvision for this JetPack first (README: On a Jetson)" >&2; exit 1; }
	$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/.installed-test: requirements-test.txt requirements-training.txt $(VENV)/.installed
	$(PIP) install -r requirements-test.txt
	@touch $@
