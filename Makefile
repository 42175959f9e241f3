# Each of these makes its own environment first; nothing needs to be installed but Python and make.
#   make demo   runs the main job on built-in photographs
#   make test   passes the tests
#   make docs   builds the site of docs/ in site/
PYTHON ?= python3
PIP = -m pip --disable-pip-version-check

.PHONY: demo test lint types docs clean

demo: .venv/ready
	.venv/bin/degrade synth --recipe realesrgan

test: .venv-test/ready
	.venv-test/bin/python -m pytest -n auto

lint: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .

types: .venv-test/ready
	.venv-test/bin/pyright --pythonpath .venv-test/bin/python

docs: .venv-test/ready
	NO_MKDOCS_2_WARNING=1 .venv-test/bin/mkdocs build --strict

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python $(PIP) install --quiet -c constraints.txt -e .
	touch $@

.venv-test/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-test
	.venv-test/bin/python $(PIP) install --quiet -c constraints.txt -e ".[train,export,perceptual-offline,shards,cloud,cluster,docs,dev]"
	touch $@

clean:
	rm -rf .venv .venv-test dist synth site
