# Plain POSIX make, so that the one macOS ships (GNU 3.81) and BSD make read it too.
# `make` alone lists what there is.

VENV = .venv
BIN = $(VENV)/bin
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
CODE = domain projections api infra tests benchmarks
# An editable install; its build backend comes from the hashed lock too, hence no isolation.
INSTALL_SELF = $(PIP) install --quiet --no-deps --no-build-isolation --editable .
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	--allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host --no-emit-options $(COMPILE_FLAGS)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed ## Create .venv and install the product from the hash-pinned lock

run: $(VENV)/.installed ## Install, then start the demonstration clinic on http://127.0.0.1:8000
	$(BIN)/rapport serve --demo

test: lint types imports chromium postgresql ## Everything that must hold: lint, types, imports, tests
	@CHROMIUM="$$(cat $(VENV)/.chromium)" $(BIN)/pytest -n 2

lint: $(VENV)/.installed-dev ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev ## mypy --strict, tests included
	$(BIN)/mypy --strict $(CODE)

imports: $(VENV)/.installed-dev ## The house of imports
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev ## Let ruff format and repair what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed-dev ## Run the short benchmarks (five minutes), renew docs/performance.md
	$(BIN)/python -m benchmarks --write

bench-full: $(VENV)/.installed-dev ## Run the growth curves and the logs of a million entries
	$(BIN)/python -m benchmarks --full --write

docs: $(VENV)/.installed-dev ## Generate docs/reference from the code
	$(BIN)/python -m api.reference

verifier: $(VENV)/.installed ## Build dist/rapport-verify.pyz, for people who have only a bundle
	@mkdir -p dist
	$(BIN)/python -m api.verifier.build dist/rapport-verify.pyz

# Each lock is compiled under the one before it, so that the three never disagree.
lock: $(VENV)/.installed-dev ## Resolve the dependencies again (upgrade: make lock COMPILE_FLAGS=--upgrade)
	$(COMPILE) --output-file requirements/run.txt pyproject.toml
	$(COMPILE) --constraint requirements/run.txt --extra dev \
		--output-file requirements/dev.txt pyproject.toml
	$(COMPILE) --constraint requirements/dev.txt --only-build-deps --build-deps-for wheel \
		--build-deps-for editable --output-file requirements/build.txt pyproject.toml

clean: ## Remove .venv, caches and build output; never the record
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second `make run` start at once.
$(VENV)/.installed: $(VENV)/.created pyproject.toml requirements/run.txt requirements/build.txt
	@echo "Installing the locked dependencies into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(INSTALL_SELF)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	@echo "Installing the locked development tools into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.created:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || { without_venv=$$python; continue; }; \
		echo "Creating $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) && touch $@ && exit 0; \
		exit 1; \
	done; \
	if [ -n "$$without_venv" ]; then \
		echo "$$without_venv cannot create environments; on Debian: apt-get install python3-venv" >&2; \
	else \
		echo "Rapport needs Python 3.11 or newer. Install it, or name it: make PYTHON=/path/to/python3" >&2; \
	fi; \
	exit 1

# The page tests drive a real browser: the one named by CHROMIUM, else one found, else (on Debian,
# where we may) the distribution's package. Its path is kept for the test run.
chromium: $(VENV)/.created ## Find Chromium for the page tests; on Debian install it when absent
	@browser() { \
		for candidate in "$$CHROMIUM" chromium chromium-browser google-chrome \
			"/Applications/Chromium.app/Contents/MacOS/Chromium" \
			"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do \
			command -v "$$candidate" && return 0; \
		done; \
		return 1; \
	}; \
	if browser > $(VENV)/.chromium; then exit 0; fi; \
	if [ -e /etc/debian_version ] && sudo=$$([ "$$(id -u)" = 0 ] || command -v sudo); then \
		echo "Installing Chromium for the page tests"; \
		$$sudo env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get -qq update && \
			apt-get -qq install --yes --no-install-recommends chromium >/dev/null'; \
	fi; \
	browser > $(VENV)/.chromium || { \
		echo "The page tests need Chromium or Chrome. Install it, or name it:" \
			"CHROMIUM=/path/to/chromium make test" >&2; exit 1; }

# The product runs on any PostgreSQL from 15 on: besides the wheel's the tests take every one that is
# under /usr/lib/postgresql, and on Debian, where we may, they get the distribution's. Its package
# would start a server of its own; only its programs are wanted.
postgresql: ## Find a second PostgreSQL for the tests; on Debian install it when absent
	@for found in /usr/lib/postgresql/*/bin/postgres; do test -x "$$found" && exit 0; done; \
	if [ -e /etc/debian_version ] && sudo=$$([ "$$(id -u)" = 0 ] || command -v sudo); then \
		echo "Installing PostgreSQL's programs for the tests"; \
		$$sudo env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get -qq update && \
			apt-get -qq install --yes --no-install-recommends postgresql-common >/dev/null && \
			sed -i "s/^#*create_main_cluster.*/create_main_cluster = false/" \
				/etc/postgresql-common/createcluster.conf && \
			apt-get -qq install --yes --no-install-recommends postgresql >/dev/null' || true; \
	fi

.PHONY: help install run test lint types imports format bench bench-full docs verifier lock clean chromium postgresql
