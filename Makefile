# make demo | test | weakened | bench | lint | format | clean
#
# PYTHON picks the interpreter (3.11 or newer), VENV where its packages go, PYTEST_ARGS what
# pytest is told:  make test PYTHON=python3.12 PYTEST_ARGS="-n 2 tests/host"

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
SOURCES := setup.py setup.cfg pyproject.toml _build_ffi.py \
	$(shell find pycontainer -name '*.py' -o -name '*.[ch]' ! -name '_helper.c')

.PHONY: demo test weakened bench lint format check clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/python examples/tour.py

# The script, not "python -m pytest": that one would put this directory on sys.path, and with it
# the sources in place of the installed package.
test: $(VENV)/installed-dev
	$(BIN)/pytest $(PYTEST_ARGS)

# Takes down one wall after the other and wants the tests to fail.  Minutes.
weakened: $(VENV)/installed-dev
	PYCONTAINER_WEAKENED=1 $(BIN)/pytest tests/hazards/test_weakened.py $(PYTEST_ARGS)

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/run.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Says what this machine lacks; installs and changes nothing.
check:
	@command -v '$(PYTHON)' >/dev/null || { \
	    echo "There is no '$(PYTHON)' on PATH. Install Python 3.11 or newer (the package is called" \
	        "python3 nearly everywhere), or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "'$(PYTHON)' is $$('$(PYTHON)' -V 2>&1), and 3.11 or newer is needed. Install a newer" \
	        "one (python3.11, python3.12, ...) and name it: make PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' tools/check_machine.py

$(VENV)/created:
	@$(MAKE) --no-print-directory check
	'$(PYTHON)' -m venv --clear '$(VENV)'
	@touch $@

# build/ goes first, as setuptools would install what it still holds of deleted modules.
$(VENV)/installed: $(VENV)/created $(SOURCES)
	rm -rf build
	$(PIP_INSTALL) .
	@touch $@

$(VENV)/installed-dev: $(VENV)/created $(SOURCES)
	rm -rf build
	$(PIP_INSTALL) '.[dev]'
	@touch '$(VENV)/installed' $@

clean:
	rm -rf '$(VENV)' build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f pycontainer/_native/_helper*.so pycontainer/_native/_helper.c pycontainer/_native/*.o
	find . -name __pycache__ -prune -exec rm -rf {} +
