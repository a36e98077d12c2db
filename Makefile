# Every target says what it does: `make` alone prints them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NODE   := tests/cluster/node/node.py
READY  := $(VENV)/.ready
SHELL  := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup crd lint types unit integration check chaos chaos-short fuzz cluster test node node-down images demo demo-down bench lock clean

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## Make the virtual environment and install beanstalkd, all that `make check` needs

$(READY): requirements.lock worker/pyproject.toml operator/pyproject.toml
	@command -v beanstalkd >/dev/null || { echo "installing beanstalkd"; apt-get update -qq && apt-get install -y -qq beanstalkd; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e ./worker -e ./operator
	@touch $@

lint: $(READY) ## Check style, format and the architecture's import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(READY) ## Check the types, strictly
	$(BIN)/mypy

unit: $(READY) ## Run the tests of pure logic
	$(BIN)/pytest tests/unit

integration: $(READY) ## Run the tests against a real beanstalkd and real processes
	$(BIN)/pytest -n 4 tests/integration

check: lint types unit integration ## The fast part: lint, types, unit and integration (under 3 minutes)

chaos: $(READY) ## Kill, stop and cut everything while 50,000 jobs are done (10 minutes; SEED=N repeats)
	$(BIN)/python -m tests.chaos.campaign $(if $(SEED),--seed $(SEED))

chaos-short: $(READY) ## The same with 1,500 jobs, under a minute
	$(BIN)/pytest tests/chaos

cluster: $(READY) images ## Run the tests on a real single-node Kubernetes
	eval "$$($(PYTHON) $(NODE) env)" && $(BIN)/pytest tests/cluster

fuzz: $(READY) ## Fuzz all that reads what strangers wrote, each part for 20 s (under 3 minutes; Linux on x86-64)
	$(BIN)/python tests/fuzz/fuzz.py

test: check chaos-short cluster ## Run every test there is

bench: $(READY) ## Measure speed, latency and memory, and write them to docs/performance.md
	$(BIN)/python tests/bench

node: ## Boot the single-node Kubernetes (needs Linux, root, Go, Debian)
	$(PYTHON) $(NODE) up

node-down: ## Stop the single-node Kubernetes and leave nothing behind
	$(PYTHON) $(NODE) down

images: node ## Build the images and hand them to the node
	$(PYTHON) $(NODE) image localhost/tubeherd-worker:dev Dockerfile.worker
	$(PYTHON) $(NODE) image localhost/tubeherd-operator:dev Dockerfile.operator
	$(PYTHON) $(NODE) image localhost/tubeherd-beanstalkd:dev Dockerfile.beanstalkd

demo: ## Show the whole product: 200 mails queued, buried, kicked, delivered (KUBE=current uses your own cluster)
	$(PYTHON) examples/mail/demo.py up

demo-down: ## Remove all that the demo made
	$(PYTHON) examples/mail/demo.py down

crd: $(READY) ## Generate the CRD from the pydantic models, for kubectl and for the chart
	$(BIN)/python -m tubeherd_operator.crd crds/workerpools.tubeherd.io.yaml charts/tubeherd/files/workerpools.tubeherd.io.yaml

lock: $(READY) ## Lock the newest versions that the pyproject files allow, with hashes
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  --group pyproject.toml:dev worker/pyproject.toml operator/pyproject.toml --no-emit-package tubeherd -o requirements.lock
	echo aiosmtpd | $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  -c requirements.lock - -o examples/mail/sink/requirements.lock
	echo hatchling | $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  -c requirements.lock - -o requirements.build.lock
	for part in worker operator; do $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate -q -c requirements.lock $$part/pyproject.toml --no-emit-package tubeherd -o $$part/requirements.lock; done

clean: ## Remove the virtual environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
