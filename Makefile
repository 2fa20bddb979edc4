# ChatLLM: `make serve` and chat; `make test` and be sure. Every target is a thin wrapper.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile -q --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help install serve stop link status doctor monitor tools tools-without-engine test test-long test-unit test-without-engine test-integration test-serve test-ui test-e2e test-cluster chaos test-clients test-openai-sdk bench bench-relay bench-cache loadtest lint format typecheck lock lock-check lock-torch clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

install:  ## install into .venv what the service needs (skips what is done)
	@$(PYTHON) deployments/local/install.py

serve: install  ## start everything and say where to go; Ctrl-C ends it (ARGS="--config FILE")
	@$(BIN)/chatllm up $(ARGS)

stop:  ## end what `make serve` started, and what a crash left
	@$(BIN)/chatllm down

link: install  ## print a link that opens the chat page in one more browser
	@$(BIN)/chatllm link

status: install  ## addresses, states and versions
	@$(BIN)/chatllm status

doctor: install  ## is this machine fit to run it?
	@$(BIN)/chatllm doctor

monitor: install  ## run Prometheus for the running service, with the rules of configs/ (ARGS="--port 9091")
	@$(BIN)/chatllm monitor $(ARGS)

tools:  ## install what the tests and linters need as well
	@$(PYTHON) deployments/local/install.py --tests

test: tools  ## run all tests, in parallel (WORKERS=0: one after the other)
	$(BIN)/python -m tests.run $(ARGS)

test-long: tools  ## run the randomized tests with ten times the examples
	EXAMPLES_FACTOR=10 $(BIN)/python -m tests.run -m hypothesis tests/unit $(ARGS)

test-unit: tools  ## run the tests that need no server
	$(BIN)/python -m tests.run tests/unit $(ARGS)

tools-without-engine:  ## install what the tests need but for torch and vLLM, which not every Python has
	@$(PYTHON) deployments/local/install.py --tests --without-engine

test-without-engine: tools-without-engine  ## run the unit tests that need neither torch nor vLLM
	$(BIN)/python -m pytest -q -n auto --maxprocesses 3 --part beside tests/unit $(ARGS)

test-integration: tools  ## run the tests against real Postgres and Valkey
	$(BIN)/python -m tests.run tests/integration $(ARGS)

test-serve: tools  ## run the tests on a real Ray Serve with scripted models
	$(BIN)/python -m tests.run tests/serve $(ARGS)

test-ui: tools  ## run the chat page's stories
	$(BIN)/python -m tests.run tests/ui $(ARGS)

test-e2e: tools  ## run the tests of the whole: launcher, vLLM, browser
	$(BIN)/python -m tests.run tests/e2e $(ARGS)

test-cluster: tools  ## break nodes of a cluster of network namespaces, for longer than `make test` does (needs root)
	CLUSTER_CUT_S=60 $(BIN)/python -m tests.run tests/cluster $(ARGS)

chaos: tools  ## kill and freeze parts of a service under load, and check what must hold (ARGS="--seconds 600 --seed 7")
	$(BIN)/python -m tests.chaos $(ARGS)

test-clients: tools  ## install real clients and run them against the service
	$(BIN)/python -m tests.clients.install
	$(BIN)/pytest tests/clients $(ARGS)

test-openai-sdk: tools  ## run the OpenAI SDK's own API tests against the service
	$(BIN)/python -m tests.clients.openai_api_tests $(ARGS)

bench: install  ## measure the service beside bare vLLM (ARGS="--quick")
	$(BIN)/python -m loadtests.bench $(ARGS)

bench-relay: install  ## measure all but the model, with a programmed one (ARGS="--quick")
	$(BIN)/python -m loadtests.relay $(ARGS)

bench-cache: install  ## measure answers from the cache beside a bare yardstick (needs wrk)
	$(BIN)/python -m loadtests.bench_cache $(ARGS)

docs: tools  ## make the reference pages and build the documentation into site/
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

loadtest: install  ## load a running service, rate after rate, and report (ARGS="--help")
	@$(BIN)/python -m loadtests.openloop $(ARGS)

lint: tools  ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: tools  ## put style and format right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typecheck: tools  ## check types, strictly
	$(BIN)/pyright

lock: tools  ## resolve the locks anew from pyproject.toml
	$(COMPILE) pyproject.toml configs/locks/torch-needs.in --extra cpu --group build --excludes configs/locks/cpu-excluded.txt -o configs/locks/requirements-cpu.lock
	$(COMPILE) pyproject.toml --extra gpu --group build --excludes configs/locks/gpu-excluded.txt -o configs/locks/requirements-gpu.lock
	$(COMPILE) --group test --group docs -c configs/locks/requirements-cpu.lock --excludes configs/locks/cpu-excluded.txt -o configs/locks/requirements-dev.lock
	sed -Ei "s/^(intel-[^ ]+)( \\\\)/\1 ; platform_machine == 'x86_64'\2/" configs/locks/requirements-*.lock
	$(MAKE) lock-check

lock-check: tools  ## can every supported Python and processor install what the locks pin?
	for python in 3.11 3.12 3.13; do for machine in x86_64 aarch64; do for lock in cpu gpu dev; do \
		$(BIN)/uv pip install -q --dry-run --no-deps --require-hashes --target $$(mktemp -du) --python-version $$python \
			--python-platform $$machine-manylinux_2_34 -r configs/locks/requirements-$$lock.lock || exit 1; \
	done; done; done

lock-torch: tools  ## resolve the hashes of torch for CPUs anew (needs PyTorch's own index)
	sed -n 's/^ *"torch==\(.*\)",/torch==\1+cpu/p' pyproject.toml | $(COMPILE) --no-deps --torch-backend cpu - -o configs/locks/requirements-torch-cpu.lock

clean:  ## remove the environment, caches and artefacts (the state in .chatllm stays)
	rm -rf .venv .ruff_cache .pytest_cache .hypothesis artifacts site
