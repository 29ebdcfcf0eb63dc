# Two commands on a fresh machine with Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# As many test processes as processors.
WORKERS ?= auto

# Both type checkers run at once: each has one process.
MAKEFLAGS += --jobs=2

.PHONY: demo dev test test-more lint types build/typing mypy pyright notebook generate site clean

demo: $(VENV)/demo.stamp
	$(BIN)/onnxla demo

# The environment for working on onnxla.
dev: $(VENV)/dev.stamp

test: $(VENV)/dev.stamp lint types
	$(BIN)/python tools/fetch_models.py
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not more"

# What takes long and rarely breaks: every case at every setting.
test-more: $(VENV)/dev.stamp
	$(BIN)/python tools/fetch_models.py
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m more

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The rooms are one package; linked together, type checkers see it as it is imported.
ROOMS = commands draw edit generate interpret ir ops parameters peers testing train

types: mypy pyright

build/typing: $(VENV)/dev.stamp
	rm -rf build/typing && mkdir -p build/typing/onnxla
	for path in api/*.py api/py.typed api/auditing $(ROOMS); do ln -s ../../../$$path build/typing/onnxla/; done

mypy: build/typing
	cd build/typing && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p onnxla

pyright: build/typing
	$(BIN)/pyright --pythonpath $(BIN)/python

# Every file that is made from others: commit what changes.
generate: $(VENV)/dev.stamp
	$(BIN)/pip install --quiet --no-deps --upgrade --target build/protoc grpcio-tools==1.73.1
	PYTHONPATH=build/protoc $(BIN)/python tools/generate_proto.py
	$(BIN)/python tools/generate_operator_table.py
	$(BIN)/python tools/generate_findings.py
	$(BIN)/python tools/number_journeys.py

# The documentation, into build/site. To search it, serve it: python -m http.server -d build/site
site: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebook: $(VENV)/dev.stamp
	$(BIN)/python tools/execute_notebooks.py

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "onnxla needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --editable ".[notebook,compare]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/demo.stamp

clean:
	rm -rf $(VENV) .jax_cache build dist *.egg-info demo-output
