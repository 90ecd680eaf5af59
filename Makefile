# `make run` and `make test` do all of their set-up. Steps leave a stamp in target/stamps and are not repeated
# until what they depend on changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.ONESHELL:

STAMPS := target/stamps
TOOLS := target/tools
VENV := .venv
PREVIOUS := target/previous/promptroom
NEXTEST := cargo-nextest@0.9.143
CARGO_DENY := cargo-deny@0.20.2

# Debian's packages that only a cluster on this machine, or only the tests need, as command:package.
CLUSTER_PACKAGES := pg_ctlcluster:postgresql-15 redis-server:redis-server
TEST_PACKAGES := chromium:chromium faketime:faketime haproxy:haproxy $(CLUSTER_PACKAGES)

# How long `make soak` hurts a cluster at random; all else takes about as long.
MINUTES ?= 60

PAGE_SOURCES := $(shell find web -name node_modules -prune -o -name dist -prune -o -type f -print 2>/dev/null)
PEER_TESTS = $$(find tests/peers -name node_modules -prune -o -name '*.test.mjs' -print | sort)

export PATH := $(CURDIR)/$(TOOLS)/bin:$(PATH)
export PROMPTROOM_TEST_PYTHON := $(CURDIR)/$(VENV)/bin/python
export PROMPTROOM_TEST_SERVER := $(CURDIR)/target/debug/promptroom

announce = printf '\n\033[1m== %s\033[0m\n' "$(1)"
say = @$(announce)

##@ Using it
.PHONY: help run cluster build clean

help: ## List the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: build ## Build the page and the server, start it on http://127.0.0.1:8080 with its data in ./data
	$(call say,Starting Promptroom. Stop it with Ctrl+C; what was saved stays in ./data)
	@exec target/release/promptroom serve

cluster: toolchain cluster-tools page ## Start two nodes with a Postgres and a Redis of their own; nothing is kept
	$(call say,Building the server and what starts several of it)
	cargo build --locked -p promptroom -p promptroom-tests
	$(call say,Starting two nodes. Ctrl+C ends everything)
	@exec target/debug/cluster

build: toolchain page ## Build the page and the optimised server, target/release/promptroom
	$(call say,Building the server (the first time takes some minutes))
	cargo build --release --locked -p promptroom

clean: ## Remove everything that was built or installed here; ./data stays
	rm -rf target $(VENV) web/dist web/node_modules
	find tests -name node_modules -prune -exec rm -rf {} +

##@ Working on it
.PHONY: test fmt lint bench soak

test: toolchain test-tools fmt-check lint deny-if-present test-rust test-page test-peers test-browser ## Check everything: format, lints, unit, integration, peer and browser tests

fmt: $(STAMPS)/npm/web ## Format the Rust code and the page's
	cargo fmt --all
	cd web && npx biome check --write .

lint: ## Clippy on everything, warnings are errors
	$(call say,Clippy)
	cargo clippy --locked --workspace --all-targets -- -D warnings

bench: toolchain ## Measure the server beside a bare relay and print one table
	$(call say,Building optimised binaries)
	cargo build --release --locked -p promptroom -p promptroom-loadtest
	target/release/loadtest bench

soak: toolchain test-tools test-binaries $(STAMPS)/npm/tests/peers $(STAMPS)/python ## Kill, cut and fuzz for MINUTES=60, each kind of test for about as long
	PROMPTROOM_SOAK_MINUTES=$(MINUTES) cargo nextest run --locked -p promptroom-tests --profile soak -E 'test(/^cluster::schedule::/)'
	export PROMPTROOM_SOAK=$$(( ($(MINUTES) + 2) / 3 )) PROMPTROOM_SOAK_MINUTES=1
	cargo nextest run --locked -p promptroom-tests --profile soak
	node --test --test-reporter=spec $(PEER_TESTS)

##@ Parts of `make test`
.PHONY: fmt-check deny deny-if-present test-rust test-page test-peers test-browser page

fmt-check: ## Is the Rust code formatted?
	$(call say,Format)
	cargo fmt --all --check

deny: $(STAMPS)/cargo-deny ## Licences, sources and banned crates (installs cargo-deny, some minutes once)
	cargo deny --locked check bans licenses sources

test-rust: $(PREVIOUS) test-binaries $(STAMPS)/npm/tests/peers ## Unit and integration tests in Rust (they ask real Yjs for a second opinion)
	$(call say,Rust tests)
	cargo nextest run --locked --workspace $$([ -x $(PREVIOUS) ] && echo --run-ignored all)

test-page: page ## Types, lints, unit tests, build and size of the page
	$(call say,The page: types and lints)
	npm --prefix web run check
	$(call say,The page: unit tests)
	npm --prefix web test
	$(call say,The page: size)
	npm --prefix web run size

test-peers: test-binaries $(STAMPS)/npm/tests/peers $(STAMPS)/python ## Stock Yjs clients, wire doubles and a real inference engine against the server
	$(call say,Peer tests)
	node --test --test-reporter=spec $(PEER_TESTS)

test-browser: test-binaries $(STAMPS)/npm/tests/peers $(STAMPS)/npm/tests/e2e $(STAMPS)/python ## Two people in Chromium
	$(call say,Browser tests)
	npm --prefix tests/e2e test

page: web/dist/index.html

# What the steps need. None of it is a target that one calls.
.PHONY: toolchain cluster-tools test-tools test-binaries

toolchain:
	@missing=0
	need() { command -v "$$1" >/dev/null || { echo "$$1 is missing: $$2" >&2; missing=1; }; }
	need cargo "install Rust from https://rustup.rs (1.95 or newer)"
	need cc "install a C compiler (Debian: apt-get install build-essential)"
	need node "install Node.js 20.19 or newer"
	need npm "install npm, which comes with Node.js"
	if command -v node >/dev/null; then
	  node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' \
	    || { echo "node $$(node --version) is too old: install Node.js 20.19 or newer" >&2; missing=1; }
	fi
	exit $$missing

web/dist/index.html: $(PAGE_SOURCES) $(STAMPS)/npm/web
	$(call say,Building the page)
	npm --prefix web run build
	@touch $@

$(STAMPS)/npm/%: %/package-lock.json
	$(call say,Installing npm packages of $*)
	cd $* && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund
	@mkdir -p $(@D) && touch $@

# The page comes first: a server that was built without it does not look for it later.
test-binaries: toolchain page
	$(call say,Building the tests and the server that they start)
	cargo build --locked --workspace --all-targets

# The server that runs beside this one while a deploy rolls on, at the commit that the file names. It shares what both
# depend on; `test-binaries` puts the server of today in its place again.
$(PREVIOUS): tests/previous-build
	@commit=$$(<$<)
	if ! git cat-file -e "$$commit^{commit}" 2>/dev/null; then
	  echo "This clone has no $$commit: that two builds work side by side is not tested here (git fetch --unshallow)"
	  exit 0
	fi
	$(call announce,Building the server as it was before: $$commit)
	rm -rf $(@D)
	mkdir -p $(@D)/source
	git archive "$$commit" | tar -x -C $(@D)/source
	cargo build --locked -p promptroom --manifest-path $(@D)/source/Cargo.toml --target-dir target
	mv target/debug/promptroom $@
	rm -rf $(@D)/source

# Debian's packages come by apt-get where this runs as root; everybody else is told the line to run.
test-tools: $(STAMPS)/nextest
test-tools: PACKAGES := $(TEST_PACKAGES) ensurepip:python3-venv
cluster-tools: PACKAGES := $(CLUSTER_PACKAGES)
cluster-tools test-tools:
	@lacking=()
	has() { if [ "$$1" = ensurepip ]; then python3 -c 'import venv, ensurepip' 2>/dev/null; else command -v "$$1" >/dev/null; fi; }
	for pair in $(PACKAGES); do
	  has "$${pair%%:*}" || lacking+=("$${pair##*:}")
	done
	if [ "$${#lacking[@]}" -gt 0 ]; then
	  if [ "$$(id -u)" != 0 ]; then
	    echo "This needs Debian packages. Run: sudo apt-get install --no-install-recommends $${lacking[*]}" >&2
	    exit 1
	  fi
	  printf '\n\033[1m== Installing %s\033[0m\n' "$${lacking[*]}"
	  export DEBIAN_FRONTEND=noninteractive
	  apt-get update -qq
	  apt-get install -qq -y --no-install-recommends "$${lacking[@]}" >/dev/null
	fi

$(STAMPS)/nextest:
	@if ! cargo nextest --version >/dev/null 2>&1; then
	  printf '\n\033[1m== Building %s into $(TOOLS), once\033[0m\n' "$(NEXTEST)"
	  cargo install --locked --root $(TOOLS) $(NEXTEST)
	fi
	mkdir -p $(@D) && touch $@

$(STAMPS)/cargo-deny:
	@if ! cargo deny --version >/dev/null 2>&1; then
	  printf '\n\033[1m== Building %s into $(TOOLS), once\033[0m\n' "$(CARGO_DENY)"
	  cargo install --locked --root $(TOOLS) $(CARGO_DENY)
	fi
	mkdir -p $(@D) && touch $@

# Building cargo-deny cold costs as much as half of all the tests, so nobody has to.
deny-if-present:
	@if cargo deny --version >/dev/null 2>&1; then $(MAKE) deny; \
	else echo "cargo-deny is not installed: licences and sources are not checked here (make deny does)"; fi

$(STAMPS)/python: tests/requirements.txt
	$(call say,Installing Python packages into $(VENV))
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@mkdir -p $(@D) && touch $@
