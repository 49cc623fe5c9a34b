# Every target makes its own .venv first; nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test real bench docs lint results base-test clean help

help:            ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large: two to ten minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[train,docs,dev]'
	@touch $(STAMP)

demo: $(STAMP)   ## the whole pipeline on drawn thin sections: out/demo
	@$(BIN)/geocamnet demo out/demo --overwrite

test: lint       ## lint, types, layers, every test
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP)   ## ruff, mypy, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

real: $(STAMP)   ## the whole pipeline on the real photographs of ../shared/data: results/carbonate-lithology.json
	@$(BIN)/python experiments/carbonate_lithology.py

bench: $(STAMP)  ## what speed is, as ratios in one run
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

docs: $(STAMP)   ## the documentation: docs/_build/html/index.html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean:           ## what the targets made, the .venv apart
	@rm -rf out docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
