# Each of these makes its own environment first; nothing needs to be installed but Python and make.
#   make demo   runs the main job on built-in photographs
#   make test   passes the tests and the doctests, and measures their coverage
#   make docs   builds the site of docs/ in site/
#   make dist   builds the sdist, a wheel with native code (manylinux, on Linux) and a pure one in dist/
#   make test-minimum   passes a part of them on the lowest versions that pyproject.toml allows
#   make audit          looks up known vulnerabilities of all that is installed (needs PyPI's advisories)
PYTHON ?= python3
PIP = -m pip --disable-pip-version-check
# With it each of a thousand programs that the tests start compiles PyTorch again.
unexport PYTHONDONTWRITEBYTECODE

NATIVE = hatch_build.py $(wildcard degrade/kernels/native/*.c degrade/kernels/native/*.h degrade/kernels/native/targets.py)
LOWEST = $(addprefix tests/test_,$(addsuffix .py,laws recipes synth replay reproducible data formats remote cluster \
	sr_models sr_metrics sr_upscale))

.PHONY: demo test test-minimum audit lint types docs dist clean

demo: .venv/ready
	.venv/bin/degrade synth --recipe realesrgan

test: .venv-test/ready
	.venv-test/bin/python -m pytest -n auto --cov --cov-report=term:skip-covered

test-minimum: .venv-minimum/ready
	.venv-minimum/bin/python -m pytest -n auto $(LOWEST)

audit: .venv-test/ready .venv-audit/ready
	.venv-test/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' >.venv-audit/installed.txt
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r .venv-audit/installed.txt

lint: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .

types: .venv-test/ready
	.venv-test/bin/pyright --pythonpath .venv-test/bin/python

docs: .venv-test/ready
	NO_MKDOCS_2_WARNING=1 .venv-test/bin/mkdocs build --strict

# The wheels are built from the sdist, so that nothing that it lacks can be in them.
dist: .venv-test/ready
	rm -rf dist
	.venv-test/bin/python -m build --sdist
	DEGRADE_BUILD_NATIVE=0 .venv-test/bin/python $(PIP) wheel --quiet --no-deps --wheel-dir dist dist/*.tar.gz
	DEGRADE_BUILD_NATIVE=1 .venv-test/bin/python $(PIP) wheel --quiet --no-deps --wheel-dir dist/native dist/*.tar.gz
	if [ "$$(uname)" = Linux ]; then PATH=.venv-test/bin:$$PATH auditwheel repair --wheel-dir dist dist/native/*.whl; \
		else mv dist/native/*.whl dist; fi
	rm -r dist/native

.venv/ready: pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python $(PIP) install --quiet -c constraints.txt -e .
	touch $@

.venv-test/ready: pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -m venv --clear .venv-test
	.venv-test/bin/python $(PIP) install --quiet --no-compile -c constraints.txt -e ".[train,export,perceptual-offline,shards,cloud,cluster,triton,docs,dev]"
	touch $@

.venv-minimum/ready: pyproject.toml constraints-minimum.txt $(NATIVE)
	$(PYTHON) -m venv --clear .venv-minimum
	.venv-minimum/bin/python $(PIP) install --quiet --no-compile -c constraints-minimum.txt -e ".[train,export,perceptual-offline,shards,cloud,cluster,dev]"
	touch $@

.venv-audit/ready:
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/python $(PIP) install --quiet pip-audit
	touch $@

clean:
	rm -rf .venv .venv-test .venv-minimum .venv-audit dist synth site
