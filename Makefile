# Two words do everything: `make demo`, `make test`. Both set the environment up first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Where pip looks for torch besides its usual index. For the CPU build, a tenth of the download:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV ?= .venv
# Files of tests that run at once.
JOBS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.skd_setup

# Stored outputs are compared where nothing in them depends on the machine; elsewhere the cells' own
# asserts judge. The kernels get no network.
STRICT := $(wildcard $(foreach n,01 02 03 05 06,notebooks/$(n)_*.ipynb))
LAX := $(filter-out $(STRICT),$(wildcard notebooks/*.ipynb))
NBVAL := HF_HUB_OFFLINE=1 SKD_FAST=1 OMP_NUM_THREADS=1 GRADIO_ANALYTICS_ENABLED=False \
	$(BIN)/python -m pytest --nbval-current-env --nbval-cell-timeout 120 \
	--nbval-sanitize-with tests/sanitize.cfg

.PHONY: setup demo test soak app notebooks format clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@echo "Installing into $(VENV); this takes some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

demo: setup
	$(BIN)/skd-lab demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests -n $(JOBS) --dist loadfile
	$(if $(STRICT),$(NBVAL) --nbval $(STRICT))
	$(NBVAL) --nbval-lax $(LAX)

# Minutes: runs killed at many moments, and a long one killed twice, against runs left alone.
soak: setup
	$(BIN)/python tests/soak.py

app: setup
	$(BIN)/python app.py

# Minutes: runs every notebook from notebooks/source/ and keeps its outputs.
notebooks: setup
	$(BIN)/python notebooks/build.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
