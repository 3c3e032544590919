# Each target makes .venv when it is missing or older than what it is made from, and reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check e2e test-ray bench bench-table bench-gpu chaos fuzz sbom proto lock clean

help:
	@echo "make demo        a chief and two workers tune fashion/ on a small sample"
	@echo "make test        the tests (no Docker, no GPU)"
	@echo "make check       format, lint, types"
	@echo "make e2e         the tests in real containers (needs a Docker Engine with Compose v2)"
	@echo "make test-ray    the tests on Ray Tune, which it installs; in containers too where an engine answers"
	@echo "make bench       the benchmarks, kept in docs/bench.json; RUNS=3"
	@echo "make bench-table the table of what was kept, into README.md"
	@echo "make bench-gpu   1, 2, 4 and 8 trainers on one GPU; BACKEND=jax"
	@echo "make chaos       a search under KILLS=100 faults"
	@echo "make sbom        what is installed in .venv, as CycloneDX in results/sbom.json"
	@echo "make fuzz        MESSAGES=100000 bad messages, FILES=10000 bad files, REQUESTS=10000 to the page"

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.12"; exit 1; }
	@echo "setting up $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[cpu,ui,dev]'
	@touch $@

demo: $(READY)
	@rm -rf results/demo
	$(BIN)/cluster run --workers 2 -m fashion tune --oracle random --max-trials 4 --epochs 3 \
		--train-samples 4000 --directory results --project demo
	@echo
	@cat results/demo/report.md

# Side by side: most of a test's time is one process that loads Keras.
JOBS ?= 2
test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not containers and not ray" tests

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

e2e: $(READY)
	$(BIN)/python -m pytest -m "containers and not ray" tests/e2e

test-ray: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[ray]'
	$(BIN)/python -m pytest -m ray tests

RUNS ?= 3
FIGURES := docs/bench.json
bench: $(READY)
	$(BIN)/python -m tests.bench --runs $(RUNS) --json $(FIGURES)

bench-table: $(READY)
	$(BIN)/python -m tests.bench.table $(FIGURES) --readme README.md

BACKEND ?= jax
bench-gpu: $(READY)
	$(BIN)/python -m tests.bench.gpu --backend $(BACKEND) --json results/bench-gpu.json

KILLS ?= 100
SEED ?= 1
chaos: $(READY)
	$(BIN)/python -m tests.e2e.chaos --kills $(KILLS) --seed $(SEED)

MESSAGES ?= 100000
FILES ?= 10000
REQUESTS ?= 10000
fuzz: $(READY)
	CLUSTER_FUZZ=$(MESSAGES) CLUSTER_FUZZ_FILES=$(FILES) CLUSTER_FUZZ_REQUESTS=$(REQUESTS) \
		$(BIN)/python -m pytest -q --timeout 1800 tests/cluster/test_bad_*.py

# In a place of its own, so that it does not list itself.
SBOM := .venv/sbom
sbom: $(READY)
	@test -x $(SBOM)/bin/cyclonedx-py || { $(BIN)/python -m venv $(SBOM) && \
		$(SBOM)/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0; }
	@mkdir -p results
	$(SBOM)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-format JSON \
		--output-file results/sbom.json

proto: $(READY)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --pyi_out=. cluster/rpc/cluster.proto

lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--no-annotate --no-header --quiet -o requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
