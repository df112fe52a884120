# `make` lists what there is.  Everything lives in the checkout: .venv/ and .cache/.
VENV := .venv
BIN := $(VENV)/bin
ENGINE := $(BIN)/python -m tests.engine run
# Tests wait more than they compute.
WORKERS ?= $(shell expr 2 '*' $$(nproc))
PYTEST := pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -p no:cacheprovider
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 120 --nbval-sanitize-with notebooks/sanitize.cfg

.DEFAULT_GOAL := help
.PHONY: help demo unit test coverage lint panel bench lab clean
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.demo ## the quickstart notebook, executed here in the terminal on the embedded backend
	@$(BIN)/python tests/tools/demo.py notebooks/quickstart.ipynb

unit: $(VENV)/.test ## the tests that start no bottle, no kernel and no server: under a minute
	$(BIN)/$(PYTEST) -q tests/unit

test: lint ## every test, on a real Docker engine (BB_SKIP_DOCKER=1: without)
	@sh tests/tools/packages.sh
	$(ENGINE) $(BIN)/$(PYTEST) --durations=40 $(COVERAGE) $(NBVAL) tests notebooks

coverage: COVERAGE := --cov --cov-report=term:skip-covered
coverage: test ## the same tests, and what they cover in kernels, gateways and brokers, too

lint: $(VENV)/.test ## ruff, mypy, the direction of imports; the panel's TypeScript: types, eslint, its unit tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" && jlpm tsc && jlpm lint && jlpm test

panel: $(VENV)/.lab ## the JupyterLab panel, built again from labextension/ and bb_jupyter/frontend/
	@touch labextension/package.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-deps --editable .

bench: $(VENV)/.test ## how fast it is, as ratios measured in one run
	$(ENGINE) $(BIN)/python -m tests.bench

lab: $(VENV)/.lab ## JupyterLab at the example notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

clean: ## remove what make made, the images of the tests included
	-@umount --quiet .cache/engine/data 2>/dev/null
	rm -rf $(VENV) .cache .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	rm -rf bb_jupyter/labextension labextension/lib labextension/node_modules

PANEL := $(wildcard bb_jupyter/frontend/*.js bb_jupyter/frontend/kinds/*.js bb_jupyter/frontend/*.css labextension/src/*.ts labextension/package.json)

$(VENV)/.demo $(VENV)/.lab $(VENV)/.test: $(VENV)/.%: pyproject.toml hatch_build.py $(PANEL)
	@sh tests/tools/venv.sh $(VENV) $*
	@touch $@
