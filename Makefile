# Two commands for a newcomer: `make demo` and `make test`. PYTHON= and VENV= can be given.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo tools test test-all lint bench clean

# a rule that leaves a stamp only when the whole installation went well
$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python launch/sweep.py sweeps/demo.yaml --cluster local

# a real SLURM for the tests of the cluster side and a browser for those of the report, where root
# and apt-get can install them; the tests use them, or say why not. Many of them wait for others, so
# there are more workers than cores.
tools: $(VENV)/.installed-test
	-$(BIN)/python slurm/devcluster.py install
	-command -v chromedriver || apt-get install -y --no-install-recommends chromium chromium-driver

PYTEST = $(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder

# every promise by its main path: ten minutes on two cores
test: tools
	$(PYTEST) -m "not slow"

# everything: kills at many moments, faults of clusters, long simulations, full-size backbones
test-all: tools
	$(PYTEST)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) data/drawn runs studies debug build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
