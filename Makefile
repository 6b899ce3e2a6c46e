# make demo         the program on rendered hands: no camera, no GPU needed
# make test         all tests
# make lint         format, style and types
# make test-azure   cameras and recordings beside Microsoft's own reader (PC, Python 3.10 to 3.12)
#
# PYTHON=python3.12 make demo   makes the environment with another Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JETSON := $(wildcard /etc/nv_tegra_release)
# On a Jetson the environment sees JetPack's own torch and tensorrt.
VENV_OPTIONS := $(if $(JETSON),--system-site-packages)

.PHONY: help demo test lint test-azure clean

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

# The live camera's package needs numpy 1, so it has an environment of its own.
test-azure: $(VENV)-azure/.installed
	$(VENV)-azure/bin/python -m pytest tests/cameras tests/training/test_record.py

clean:
	rm -rf $(VENV) $(VENV)-azure

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

$(VENV)-azure/.installed: requirements.txt requirements-training.txt requirements-test.txt requirements-azure.txt
	$(PYTHON) -m venv $(VENV)-azure
	$(VENV)-azure/bin/python -m pip --disable-pip-version-check install \
	    -r requirements-azure.txt -r requirements-test.txt
	@touch $@

$(VENV)/.installed-test: requirements-test.txt requirements-training.txt $(VENV)/.installed
	$(PIP) install -r requirements-test.txt
	@touch $@
