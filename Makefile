# Two commands do it all: `make repro` trains and evaluates, `make test` checks everything.
# Needed: Python 3.11 and git. What is installed goes into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Two processes of one thread each are faster than one of two, and so the tests run.
JOBS ?= 2
# How long coverage leads the input of each parser, and how often the main job is killed.
FUZZ_SECONDS ?= 120
KILLS ?= 200
# Where models with random weights are made, and kept for a second run.
PLACE ?= data/made-up
PARSERS := $(shell sed -n 's/^def \(test_[a-z_]*\).*/\1/p' tests/fuzz/test_parsers.py)

export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup repro ablations notebooks playground test test-fast test-playground \
  test-distributed lint fuzz chaos check real-size gpu docs slides

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## install what is needed into .venv

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; found = sys.version_info[:2]; found == (3, 11) or sys.exit( \
	    "Python 3.11 is needed, got %d.%d: make PYTHON=/path/to/python3.11 setup" % found)'
	$(PYTHON) -m venv .venv
	@echo "installing into .venv; this takes some minutes"
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

repro: setup  ## from raw shards to an evaluated ladder, beside the committed one
	$(BIN)/dvc repro
	@echo "scores: experiments/results/ladder-0.json   pictures: experiments/pictures/ladder-0/"
	$(BIN)/ladder reproduced

# A run that fails is a row of the report, and keeps nothing else from running.
ablations: setup  ## what is missing of the studies (experiments/studies), JOBS runs at once, and the report
	$(BIN)/ladder study power layers
	$(BIN)/dvc repro encode
	-JOBS=$(JOBS) $(BIN)/dvc repro --keep-going --single-item experiments/dvc.yaml:layers \
	  experiments/dvc.yaml:monitors
	$(BIN)/dvc repro --single-item experiments/dvc.yaml:report

notebooks: setup  ## run the notebooks that aren't up to date, into experiments/report/notebooks
	$(BIN)/dvc repro --single-item --keep-going experiments/dvc.yaml:notebooks \
	  experiments/dvc.yaml:results

playground: .venv-playground/ready  ## the trained ladder in the browser; OPTIONS="--port 8080"
	.venv-playground/bin/python -m ladder.cli.main playground $(OPTIONS)

# An environment over the other one: gradio wants older versions of two of its packages.
.venv-playground/ready: .venv/ready requirements-playground.lock
	$(BIN)/python -m venv .venv-playground
	$(BIN)/python -c 'import pathlib, sysconfig; below = sysconfig.get_path("purelib"); \
	    over = pathlib.Path(below.replace("/.venv/", "/.venv-playground/")); \
	    (over / "below.pth").write_text(f"import site; site.addsitedir({below!r})\n")'
	.venv-playground/bin/python -m pip install --quiet --no-deps \
	    --requirement requirements-playground.lock
	touch $@

test: setup lint  ## all tests, the slow ones too
	$(BIN)/pytest -n $(JOBS) --dist loadscope

test-fast: setup  ## the tests that take less than five seconds each
	$(BIN)/pytest -n $(JOBS) --dist loadscope -m "not slow"

test-playground: .venv-playground/ready  ## the playground in a browser; needs Chromium, and npm for axe-core
	-npm install --silent --no-save --prefix .venv-playground axe-core@4.14.1
	.venv-playground/bin/python -m pytest tests/playground

test-distributed: setup  ## two processes, ZeRO too (installs DeepSpeed; needs a C++ compiler)
	$(BIN)/python -m pip install --quiet "deepspeed==0.19.8"
	$(BIN)/pytest tests/training/test_distributed.py

lint: setup  ## style of code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fuzz: setup  ## curation of 40,000 damaged files, and parsers under made-up input (FUZZ_SECONDS each)
	$(BIN)/pytest --hypothesis-profile=fuzz -rP tests/fuzz
	$(BIN)/python -m pip install --quiet --requirement tests/fuzz/requirements.lock
	for parser in $(PARSERS); do \
	  $(BIN)/python -m tests.fuzz.guided $$parser -max_total_time=$(FUZZ_SECONDS) || exit 1; done

chaos: setup  ## kill the stages of a tiny main job 200 times (KILLS), fill its disk, interrupt it
	CHAOS_KILLS=$(KILLS) $(BIN)/pytest -n $(JOBS) tests/chaos

real-size: setup  ## every verb at the published size on random weights (24 GB of memory, 40 GB of disk)
	$(BIN)/ladder real-size --place $(PLACE)/real-size --out experiments/results/real-size.json

gpu: setup  ## training and drawing on GPUs against the published way, in minutes
	$(BIN)/ladder gpu --place $(PLACE)/gpu --out gpu.json

check: setup  ## are data, models, results and DVC's cache as they were recorded?
	$(BIN)/ladder check

docs: setup docs/requirements.lock  ## the site: tutorials, guides, reference, explanation, in site/
	$(BIN)/python -m pip install --quiet --no-deps --requirement docs/requirements.lock
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env docs site/html
	@echo "the site: site/html/index.html"

slides: setup docs/requirements.lock  ## the lectures as slides, in site/slides; they need no network
	$(BIN)/python -m pip install --quiet --no-deps --requirement docs/requirements.lock
	$(BIN)/python docs/slides/build.py site/slides
