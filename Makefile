# `make demo` and `make test` need nothing but pip and Python 3.11 or 3.13, for which Blender is there as a module; each makes its
# own virtual environment in .venv.

PYTHON ?= $(firstword $(foreach one,python3.11 python3.13,$(shell command -v $(one))) python3.11)
VENV := .venv
RUN := $(VENV)/bin/python
# As many processes as there are cores, 4 at most; the tests of a file stay together, for the models that they share.
PYTEST := $(RUN) -m pytest -q -n logical --maxprocesses 4 --dist loadfile
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint dist install clean

demo: $(INSTALLED)  ## pose to picture: out/plaza.png and out/plaza.blend
	$(RUN) tools/demo.py

test: $(INSTALLED) lint  ## everything that runs in minutes
	$(PYTEST)

test-all: $(INSTALLED) lint  ## also what takes longer
	$(PYTEST) -m "not gpu"

lint: $(INSTALLED) .cache/typing/beyondscene
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

dist: $(INSTALLED)  ## the extension for Blender, dist/beyondscene-VERSION.zip
	$(RUN) tools/fetch_wheels.py
	$(RUN) tools/build_extension.py

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) > /dev/null || \
		{ echo "There is no $(PYTHON): install Python 3.11 or 3.13, or name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(RUN) -m pip install --quiet --editable ".[dev]"
	touch $@

# The repository root is the package; this link is how the type checker sees it under its name.
.cache/typing/beyondscene:
	mkdir -p .cache/typing
	ln -sfn ../.. $@

clean:
	rm -rf $(VENV) .cache build dist out
