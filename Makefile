# Two commands are all that is needed: `make demo` and `make test`. Each sets itself up.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CODE   := prewarm tests benchmarks data models docs

.PHONY: help setup demo test check e2e soak bench models docs pictures screenshots format lint types imports docs-check lock build clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY)  ## a virtual environment with pinned, hash-checked packages

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("prewarm needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements/dev.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

demo: $(READY)  ## the whole story on the shipped sample, in under two minutes
	@$(BIN)/prewarm demo

test: $(READY)  ## every test that needs no server
	$(BIN)/pytest -q -n 2 -m "not e2e" tests

check: $(READY) format lint types imports test docs-check  ## format, lint, types, imports, tests, docs

format: $(READY)
	$(BIN)/ruff format --check $(CODE)

lint: $(READY)
	$(BIN)/ruff check $(CODE)

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

docs-check: $(READY)
	$(BIN)/cog --check docs/cli.md docs/api.md docs/configuration.md docs/architecture.md

docs: $(READY)  ## write the generated parts of the docs again
	$(BIN)/cog -r docs/cli.md docs/api.md docs/configuration.md docs/architecture.md

screenshots: $(READY)  ## take the README's pictures of the page again, by the browser tests (needs chromium)
	mkdir -p dist/screenshots
	PREWARM_SCREENSHOTS=dist/screenshots $(BIN)/pytest -q -m e2e tests/e2e/test_page.py
	cp dist/screenshots/page-now-light.png docs/pictures/page-now.png
	cp dist/screenshots/page-image-docker.io-library-postgres-16-light.png docs/pictures/page-image.png

pictures: $(READY)  ## draw the pictures of docs/reports.md again
	$(BIN)/python docs/pictures/draw.py

e2e: $(READY)  ## proofs on real servers (PREWARM_REQUIRE=docker-registry,... makes a missing one fail)
	$(BIN)/pytest -q -m e2e tests/e2e

soak: $(READY)  ## the kill, fault and load loops of the end-to-end tests, twenty rounds each, by hand
	PREWARM_ROUNDS=20 $(BIN)/pytest -q -rP -m e2e tests/e2e/test_kills.py tests/e2e/test_fault_loop.py tests/e2e/test_load_loop.py tests/e2e/test_deliveries.py

bench: $(READY)  ## the figures of docs/performance.md, each beside its peer
	for each in ingest_parse "ingest --peers" forecast planning warm service deliveries; do $(BIN)/python -m benchmarks.$$each || exit 1; done

models: $(READY)  ## rebuild the shipped model artefact
	$(BIN)/python models/build.py

lock: $(READY)  ## pin again, with hashes and without any index address
	echo "hatchling>=1.27" | $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 - -o requirements/build.txt
	echo uv | $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 - -o requirements/uv.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml --group dev -o requirements/dev.txt

build: $(READY)  ## the wheel, samples and model artefact inside it
	VIRTUAL_ENV=$(VENV) $(BIN)/uv build --quiet --wheel --no-build-isolation --out-dir dist

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
