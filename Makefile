# `make help` lists the targets. Everything that is installed stays inside this folder.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir

.PHONY: help setup setup-dev demo test check fmt lint types imports proto proto-check lock wheel image image-test bench-setup bench-gateway eval clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/.runtime ## virtual environment with what the product needs
$(VENV)/.runtime: requirements/runtime.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: PYTHON=python3.11 make $(MAKECMDGOALS)"; exit 8; }
	@$(PYTHON) -c 'import ensurepip' || { echo "the venv module is missing: apt-get install python3-venv"; exit 8; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements/runtime.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

setup-dev: $(VENV)/.dev ## the same, with test tools
$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	@$(PIP) --require-hashes -r requirements/dev.lock
	@touch $@

demo: setup ## control plane, outpost and a pretended provider, end to end
	@$(BIN)/outpost demo

test: setup-dev ## every test
	$(BIN)/python -m pytest -n auto --dist loadfile

check: setup-dev fmt-check lint types imports proto-check test ## what CI runs

fmt: setup-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

.PHONY: fmt-check
fmt-check: ## is the code formatted
	$(BIN)/ruff format --check .

lint: ## style and traps
	$(BIN)/ruff check .

types: ## mypy --strict
	$(BIN)/mypy

imports: ## the eight import contracts
	$(BIN)/lint-imports

proto: setup-dev ## generate the wire code
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=proto --pyi_out=proto --grpc_python_out=proto proto/outpost_wire/v1/*.proto

proto-check: ## regenerating changes nothing
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out="$$tmp" --pyi_out="$$tmp" --grpc_python_out="$$tmp" proto/outpost_wire/v1/*.proto && \
	for f in "$$tmp"/outpost_wire/v1/*; do cmp "$$f" "proto/outpost_wire/v1/$${f##*/}" || exit 1; done

wheel: setup ## build the wheel into dist/, the same bytes each time
	@rm -f dist/*.whl
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(BIN)/python -m hatchling build -t wheel
	@sha256sum dist/*.whl

image: setup ## build the container image (root, Debian: buildah, mmdebstrap)
	@packaging/images/build.sh

image-test: image ## run the image without root, without capabilities, on a read-only root
	@packaging/images/test.sh

bench-setup: setup ## install what the benchmarks compare with (root, Debian)
	@bench/setup.sh

bench-gateway: setup ## CPU, delay and memory beside nginx and a bare aiohttp proxy (QUICK=1: 50 s)
	@PYTHONPATH=. $(BIN)/python -m bench.gateway.run $(if $(QUICK),--quick)

lock: ## resolve the dependencies anew
	$(BIN)/uv pip compile pyproject.toml --extra outpost --extra controlplane --extra migrate --extra pkcs11 --extra fast --extra build --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q -o requirements/runtime.lock
	$(BIN)/uv pip compile pyproject.toml --extra outpost --extra controlplane --extra migrate --extra pkcs11 --extra fast --extra build --extra dev -c requirements/runtime.lock --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q -o requirements/dev.lock

clean: ## remove everything that was made
	rm -rf $(VENV) .cache .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

eval: setup-dev ## labelled texts through a running outpost; DATA=folder, QUICK=1 for a tenth
	@test -n "$(DATA)" || { echo "say where the labelled texts are: make eval DATA=folder"; exit 2; }
	@$(BIN)/python bench/eval.py "$(DATA)"

.PHONY: eval bench-policy bench-kills bench-outage bench-issuance bench-revocation bench-propagation bench-idle bench-enroll bench-replica-kill bench-bad-release
.PHONY: bench-store bench-api-fuzz bench-cross-org
bench-cross-org: setup-dev ## 10,000 attempts of orgs at one another over RPC, REST and CLI, and again without WHERE: 0 rows (QUICK=1: 600)
	@PYTHONPATH=. $(BIN)/python -m bench.cross_org

bench-api-fuzz: setup-dev ## 2,000 requests that schemathesis makes from the OpenAPI document, with two orgs' tokens (QUICK=1: 200)
	@PYTHONPATH=. $(BIN)/python bench/api_fuzz.py

bench-store: setup-dev ## transactions of the control plane's store on SQLite and PostgreSQL (QUICK=1)
	@PYTHONPATH=. $(BIN)/python bench/store.py

bench-policy: setup-dev ## time of one decision
	@$(BIN)/python bench/policy.py

bench-kills: setup-dev ## SIGKILLs of random processes under load (KILLS=50)
	@$(BIN)/python bench/kills.py

bench-outage: setup-dev ## 1,000 requests while the control plane is dead, then the log must be whole there (QUICK=1: 100)
	@$(BIN)/python bench/outage.py

bench-issuance: setup-dev ## certificates and signatures per second and core, keys in files and in a PKCS#11 token (QUICK=1)
	@PYTHONPATH=. $(BIN)/python bench/issuance.py

.PHONY: bench-tamper bench-cache-kills
bench-tamper: setup-dev ## 10,000 flipped bits of metadata, targets, cache, wire and files: 0 may come into force (QUICK=1: 500)
	@PYTHONPATH=. $(BIN)/python -m bench.tamper

bench-cache-kills: setup-dev ## 1,000 SIGKILLs of a writer of signed sets, each with a start after it (QUICK=1: 50)
	@PYTHONPATH=. $(BIN)/python -m bench.cache_kills

# The fleet simulator: thousands of real sync agents. QUICK=1: 50 s; DATABASE=sqlite: without PostgreSQL.
bench-revocation: setup-dev ## from a revocation's commit to the end of the stream, 1,000 live streams over 2 replicas
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.revocation

bench-propagation: setup-dev ## from a release's commit to its activation on 1,000 and 5,000 outposts
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.propagation

bench-idle: setup-dev ## memory and CPU of the control plane for 2,000 connected outposts
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.idle

bench-enroll: setup-dev ## certificates and whole enrollments in a second
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.enroll

bench-bad-release: setup-dev ## a bad release: outposts that it touches, and how soon the last good one is back (QUICK=1)
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.bad_release

bench-replica-kill: setup-dev ## one of three replicas dies under 1,000 outposts, then all of them
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.replica_kill

.PHONY: bench-clone bench-token-race bench-ca-rotation bench-outage-72h
bench-clone: setup-dev ## clones of outposts are locked; 1,000 lost answers, cut lines and restarts lock nobody
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.clone

bench-token-race: setup-dev ## 200 machines spend one join token at once, 50 times: one certificate each time
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.token_race

bench-ca-rotation: setup-dev ## the root CA is replaced in 7 simulated days under 1,000 outposts, 50 of them away (needs cc)
	@PYTHONPATH=. $(BIN)/python -m bench.fleet.ca_rotation

bench-outage-72h: setup-dev ## 72 simulated hours without the control plane; the certificate ends in them (needs cc)
	@PYTHONPATH=. $(BIN)/python -m bench.outage_72h
