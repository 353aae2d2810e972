# On a machine with Python 3.10 or newer and make, nothing else:
#
#   make train   train CartPole-v1 through the RL Zoo, then ask it for returns: a table, pictures, and a film in results/
#   make demo    watch trained models obey, in a browser
#   make test    style, types, documentation, a small benchmark and all tests
#
# All make their own virtual environment in .venv the first time.
# Smaller targets: lint format type docs smoke pytest coverage pictures clean, and bench for the micro-benchmarks.

PYTHON ?= python3
ENV_ID ?= CartPole-v1
TRAIN_ARGS ?= -n 25000
RESULTS ?= results
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALL := $(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := sb3_udrl/zoo/hook/_sb3_udrl_autoload.py pyproject.toml constraints.txt

# Networks this small are slower with more threads
export OMP_NUM_THREADS ?= 1

.PHONY: train demo test lint format type docs smoke pytest coverage pictures bench clean

train: $(VENV)/.train
	$(RUN) rl_zoo3.train --algo udrl --env $(ENV_ID) --seed 1 $(TRAIN_ARGS) --eval-freq -1 --verbose 0 --progress -f $(RESULTS)
	$(RUN) sb3_udrl.evaluation "$$(ls -td $(RESULTS)/udrl/$(ENV_ID)_*/ | head -n 1)$(ENV_ID).zip" \
		--env $(ENV_ID) --episodes 8 --film --output $(RESULTS)/$(ENV_ID)
	@echo "Watch it obey in a browser:       make demo MODELS=$(RESULTS)"
	@echo "Train longer, or something else:  make train ENV_ID=Acrobot-v1 TRAIN_ARGS="

demo: $(VENV)/.demo
	$(RUN) sb3_udrl.app $(if $(MODELS),--models $(MODELS)) $(DEMO_ARGS)

# The quick checks side by side, then all tests
test: $(VENV)/.test
	$(MAKE) --jobs=2 --output-sync=target lint type docs smoke
	$(MAKE) pytest

lint: $(VENV)/.test
	$(RUN) ruff check .
	$(RUN) ruff format --check .

format: $(VENV)/.test
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

type: $(VENV)/.test
	$(RUN) mypy

docs: $(VENV)/.test
	$(RUN) sphinx -W --keep-going -q -b html docs docs/_build/html

smoke: $(VENV)/.test
	output=$$(mktemp -d) && trap 'rm -rf "$$output"' EXIT \
		&& $(RUN) sb3_udrl.benchmark smoke --output "$$output" \
		&& $(RUN) sb3_udrl.benchmark.report "$$output" --output "$$output/report"

pytest: $(VENV)/.test
	$(RUN) pytest -n auto

# Apart, since learning takes half as long again when it is traced
coverage: $(VENV)/.test
	$(RUN) pytest -n auto --cov --cov-fail-under=95

# All that README and documentation show: pictures, tables of results, words per page
pictures: $(VENV)/.test
	$(VENV)/bin/python docs/pictures.py

bench: $(VENV)/.test
	$(RUN) benchmarks

clean:
	rm -rf $(VENV) build dist docs/_build .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

# CPU torch first, alone: what else is installed then finds it, and does not pull in gigabytes for GPUs.
# Where the index cannot be reached, pip goes on with the ones that it knows.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("needs Python 3.10 or newer: make PYTHON=/path/to/it" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --no-deps --timeout 15 --retries 2 --extra-index-url $(TORCH_INDEX) torch
	touch $@

$(VENV)/.train: $(VENV)/.torch $(SOURCES)
	$(INSTALL) --editable ".[plots]" gymnasium[classic-control] pillow
	touch $@

$(VENV)/.demo: $(VENV)/.torch $(SOURCES)
	$(INSTALL) --editable ".[app]"
	touch $@

$(VENV)/.test: $(VENV)/.torch $(SOURCES)
	$(INSTALL) --editable ".[all]"
	touch $@ $(VENV)/.train $(VENV)/.demo
