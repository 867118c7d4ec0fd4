.DEFAULT_GOAL := help
.PHONY: help install demo serve check test test-without-extension lint format clean

PYTHON ?= python3
BIN := .venv/bin
# Many tests wait for Dagster's daemon: two processes more than there are cores keep the cores busy.
PROCESSES ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 2)))
INSTALLED := .venv/installed

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(INSTALLED): setup.cfg setup.py pyproject.toml $(wildcard imagi_pipeline/core/images/*.[ch]) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,dev,postgres,s3,celery]'
	@$(BIN)/python -m imagi_pipeline.core.images.jpeg_coefficients
	@touch $@

install: $(INSTALLED)  ## make .venv with everything in it

demo: install  ## process a sample CSV through the real job, no internet needed
	$(BIN)/imagi demo

serve: install  ## start the page, the API and Dagster
	$(BIN)/imagi serve

check: lint  ## lint, types, and the tests that need no process of Dagster and no browser
	$(BIN)/python -m pytest -q -n $(PROCESSES) -m 'not slow' imagi_pipeline_tests/core imagi_pipeline_tests/test_*.py

test: install  ## run the whole test suite
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-without-extension: install  ## run the tests of images as if there were no native extension
	$(BIN)/python -m pytest -p imagi_pipeline_tests.without_extension -n $(PROCESSES) imagi_pipeline_tests/core/images

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove .venv and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
