# Two words do everything: `make demo`, `make test`. Both set the environment up first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Where pip looks for torch besides its usual index. For the CPU build, a tenth of the download:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV ?= .venv

BIN := $(VENV)/bin
STAMP := $(VENV)/.skd_setup

.PHONY: setup demo test soak app format clean

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
	$(BIN)/python -m pytest tests --nbval notebooks

# Minutes: runs killed at many moments, and a long one killed twice, against runs left alone.
soak: setup
	$(BIN)/python tests/soak.py

app: setup
	$(BIN)/python app.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
