# Every target makes its own .venv first; nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-web web base-test lint real start folds bundled ablation ceiling drawn sandstone lights refinements overlap places results bench docs clean help

help:            ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large: two to ten minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[train,web,big,cluster,store,docs,dev]'
	@touch $(STAMP)

demo: $(STAMP)   ## the whole pipeline on drawn thin sections: out/demo
	@$(BIN)/geocamnet demo out/demo --overwrite

test: lint       ## lint, types, layers, every test but those of test-web
	@$(BIN)/python -m geocamnet.web.engine || echo 'The tests of the browser page are left out.'
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not web'

web: $(STAMP)    ## ONNX Runtime for browsers, by npm: what geocamnet web serves, and what goes into a wheel
	@$(BIN)/python -m geocamnet.web.engine

test-web: web    ## the browser page, all of it, in Debian's chromium
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } \
		|| { echo 'Needs Chromium; on Debian, as root: apt-get install chromium'; exit 1; }
	@$(BIN)/python -m pytest tests/web

base-test:       ## the runtime where only the base package is installed: no PyTorch
	@test -x .venv-base/bin/python || $(PYTHON) -m venv .venv-base
	@.venv-base/bin/python -m pip install --quiet --upgrade pip
	@.venv-base/bin/python -m pip install --quiet . pytest hypothesis onnx psutil
	@! .venv-base/bin/python -c 'import torch' 2>/dev/null || { echo 'torch is installed here: this tests nothing'; exit 1; }
	@.venv-base/bin/geocamnet doctor
	@.venv-base/bin/python -m pytest tests/test_import.py tests/test_card.py tests/test_tiles.py tests/test_doctor.py \
		tests/test_lights.py tests/runtime/test_model.py tests/runtime/test_pairs.py \
		tests/runtime/folder tests/runtime/huge tests/runtime/live

lint: $(STAMP)   ## ruff, mypy, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

real: $(STAMP)   ## the whole pipeline on the real photographs of ../shared/data: results/carbonate-lithology.json
	@$(BIN)/python experiments/carbonate_lithology.py

start: $(STAMP)  ## the start of a student that comes with the package: hours; results/student-start.json
	@$(BIN)/python experiments/student_start.py

folds: $(STAMP)  ## student and teacher on the same photographs, 5 folds, 3 seeds, most of a day: results/carbonate-folds.json
	@$(BIN)/python experiments/carbonate_folds.py --seeds 0 1 2

bundled: $(STAMP) ## the student that comes with the package; needs make folds
	@$(BIN)/python experiments/bundled_student.py

ablation: $(STAMP) ## what each part of distillation is worth: hours, results/distillation-ablation.json
	@$(BIN)/python experiments/distillation_ablation.py

ceiling: $(STAMP) ## how well these labels can be predicted at all; needs make folds
	@$(BIN)/python experiments/label_ceiling.py

drawn: $(STAMP)   ## all 22 classes, drawn, heatmaps against exact masks: results/drawn-sections.json
	@$(BIN)/python experiments/drawn_sections.py

sandstone: $(STAMP) ## heatmaps against an expert's masks, of ../shared/data: results/sandstone-masks.json
	@$(BIN)/python experiments/sandstone_masks.py

lights: $(STAMP) ## PPL and XPL: evidence summed, or one input? results/paired-lights.json
	@$(BIN)/python experiments/paired_lights.py

refinements: $(STAMP) ## what texture adds to the demo's heatmaps: results/heatmap-refinements.json; needs make demo
	@$(BIN)/python experiments/heatmap_refinements.py out/demo/student.onnx results/heatmap-refinements.json

overlap: $(STAMP) ## what overlapping tiles are worth on a scan; needs make folds
	@$(BIN)/python experiments/tile_overlap.py

places: $(STAMP) ## whether heatmaps go by the place instead of by what is there; needs make folds
	@$(BIN)/python experiments/heat_by_place.py

results: demo start real folds places bundled ceiling ablation drawn sandstone lights overlap ## every committed figure again (a day or two on 2 cores; it resumes), and the tables of README and docs
	@mkdir -p results && cp out/demo/demo.json results/demo.json
	@$(MAKE) --no-print-directory refinements
	@$(BIN)/python docs/figures.py

bench: $(STAMP)  ## what speed is, as ratios in one run (an hour): results/speed-*.json, results/*-at-size.json
	@for name in frame texture class_maps precision looking hour page; do \
		$(BIN)/python benchmarks/bench_$$name.py --out results/speed-$$(echo $$name | tr _ -).json || exit 1; done
	@$(BIN)/python benchmarks/bench_audit.py --files 50000 --out results/audit-at-size.json
	@$(BIN)/python benchmarks/bench_scan.py --out results/scan-at-size.json
	@$(BIN)/python benchmarks/bench_prepare.py --more 10 --out results/prepare-at-size.json
	@$(BIN)/python benchmarks/bench_cluster.py --out results/cluster-at-size.json
	@$(BIN)/python benchmarks/bench_training.py --out results/training-at-size.json
	@$(BIN)/python docs/figures.py

docs: $(STAMP)   ## the documentation: docs/_build/html/index.html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean:           ## what the targets made, the .venv apart
	@rm -rf out docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
