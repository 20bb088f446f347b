# Everything that is done to this repository. Type `make`.
#
# Set-up is part of every target and done once: its marks lie in .cache/, tools in .tools/, packages in .venv/.
# `make clean` forgets all of it.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST = TMPDIR=$$(scripts/fast-tmp) $(BIN)/pytest
PYTHON_CODE := src tests bench examples scripts
PAGE := examples/first-login/page
COMMAND := tests/dexie_cloud
COMMAND_PACKAGES := $(COMMAND)/node_modules/.package-lock.json
RECEIVER := examples/receivers/javascript
RECEIVER_PACKAGES := $(RECEIVER)/node_modules/.package-lock.json
PROVIDER := examples/identity-provider
PROVIDER_PACKAGES := $(PROVIDER)/node_modules/.package-lock.json
CLIENT := clients/js
CLIENT_PACKAGES := $(CLIENT)/node_modules/.package-lock.json
HTMX := scripts/htmx
HTMX_SCRIPT := src/admit/web/static/manager/htmx.min.js

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

serve: setup $(PAGE)/dist/app.js $(PROVIDER_PACKAGES) $(HTMX_SCRIPT) ## Make a demo app, serve it with a page to sign in on, and print the addresses
	@exec $(BIN)/python examples/first-login/serve.py

test: lint debian $(HTMX_SCRIPT) $(PAGE)/dist/app.js $(COMMAND_PACKAGES) $(RECEIVER_PACKAGES) $(PROVIDER_PACKAGES) $(CLIENT_PACKAGES) ## Run every check and every test, on both databases and in a browser
	@scripts/run-tests tests

check: lint debian $(HTMX_SCRIPT) $(COMMAND_PACKAGES) $(RECEIVER_PACKAGES) $(PROVIDER_PACKAGES) ## What CI runs first: lint, then unit, structure and contract tests
	@scripts/run-tests tests/unit tests/structure tests/contract

lint: setup ## ruff, mypy --strict and import-linter
	@$(BIN)/ruff check --quiet $(PYTHON_CODE)
	@$(BIN)/ruff format --quiet --check $(PYTHON_CODE) || { echo "Run: make format"; exit 1; }
	@$(BIN)/mypy $(PYTHON_CODE)
	@$(BIN)/lint-imports

format: setup ## Let ruff format the code and repair what it can
	@$(BIN)/ruff check --quiet --fix $(PYTHON_CODE)
	@$(BIN)/ruff format --quiet $(PYTHON_CODE)

crash: setup debian ## Kill servers and PostgreSQL, between two steps and under load
	@$(PYTEST) tests/crash

browser: setup debian $(HTMX_SCRIPT) $(PAGE)/dist/app.js $(PROVIDER_PACKAGES) $(CLIENT_PACKAGES) ## Sign in with the published dexie-cloud-addon in Chromium
	@$(PYTEST) tests/browser

mutants: setup debian ## Take each protection of docs/security.md away and see its test fail
	@$(BIN)/python -m scripts.mutants

bench: setup debian ## Measure first logins, deliveries, runs of tasks, synced data, pages of the Manager, and what a million people and sessions cost, on both databases
	@$(BIN)/python -m bench.first_login
	@$(BIN)/python -m bench.decisions
	@$(BIN)/python -m bench.users
	@$(BIN)/python -m bench.sessions
	@$(BIN)/python -m bench.deliveries
	@$(BIN)/python -m bench.runs
	@$(BIN)/python -m bench.sync
	@$(BIN)/python -m bench.manager

docs: setup ## Write the pages that are made from the code
	@$(BIN)/python -m scripts.docs

pictures: setup debian $(HTMX_SCRIPT) ## Take the pictures of docs/manager: every page of the Manager, light and dark
	@$(BIN)/python -m tests.browser.pictures

setup: .cache/python ## Install what serving needs into .venv

clean: ## Forget everything that was installed or built
	rm -rf .cache .tools .venv $(PAGE)/dist $(HTMX_SCRIPT) $(addsuffix /node_modules,$(HTMX) $(PAGE) $(COMMAND) $(RECEIVER) $(PROVIDER) $(CLIENT))

.tools/bin/uv:
	@scripts/get-uv

.cache/python: pyproject.toml uv.lock scripts/get-python | .tools/bin/uv
	@scripts/get-python
	@touch $@

.cache/node: uv.lock scripts/get-node | .tools/bin/uv
	@scripts/get-node
	@touch $@

$(PAGE)/dist/app.js: $(PAGE)/package-lock.json $(wildcard $(PAGE)/src/* $(CLIENT)/*.js) scripts/bundle | .cache/node
	@scripts/bundle $(PAGE)

# The script that the Manager's pages take from npm; without it they work, by loading whole pages.
$(HTMX_SCRIPT): $(HTMX)/package-lock.json scripts/bundle | .cache/node
	@scripts/bundle $(HTMX)
	@touch $@

# The published dexie-cloud command, which the tests run.
$(COMMAND_PACKAGES): $(COMMAND)/package-lock.json scripts/bundle | .cache/node
	@scripts/bundle $(COMMAND)
	@touch $@

# The published verifier of Standard Webhooks, with which the example receiver checks what we sign.
$(RECEIVER_PACKAGES): $(RECEIVER)/package-lock.json scripts/bundle | .cache/node
	@scripts/bundle $(RECEIVER)
	@touch $@

# The certified OpenID Connect provider, which the demo and the tests sign in at.
$(PROVIDER_PACKAGES): $(PROVIDER)/package-lock.json scripts/bundle | .cache/node
	@scripts/bundle $(PROVIDER)
	@touch $@

# The compiler that checks the types of the helper for web apps; the helper itself needs no packages.
$(CLIENT_PACKAGES): $(CLIENT)/package-lock.json scripts/bundle | .cache/node
	@scripts/bundle $(CLIENT)
	@touch $@

# What the tests need beside Python packages; Playwright's driver needs libatomic1. Cheap when nothing is missing,
# so it has no mark: what was there may be gone.
debian:
	@scripts/get-debian 'postgresql-15:/usr/lib/postgresql/*/bin/initdb' chromium:/usr/bin/chromium \
	  'libatomic1:/usr/lib/*/libatomic.so.1'

.PHONY: help serve test check lint format crash browser mutants bench docs pictures setup clean debian
