# Every target sets itself up: it needs Python 3.11+ with venv, and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Without its bytecode every process would compile the exchange anew, and the demo starts sixty of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check torture properties bench dist docs screenshots format lock services services-stop clean

# ENGINES=real plays it on Kafka and PostgreSQL, started on loopback where they do not run; KEEP=1 leaves them and its data.
demo: $(READY)
	@$(BIN)/exchange demo build/demo $(if $(SEED),--seed $(SEED)) $(if $(SCALE),--scale $(SCALE)) \
	  $(if $(ENGINES),--engines $(ENGINES)) $(if $(KEEP),--keep)

# First the embedded part, in seconds; then what runs on OPA, plays the demo, kills and recovers.
test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not torture and not demo and not opa and not whole and not postgres and not kafka" $(ARGS)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "torture or demo or opa or whole or postgres or kafka" $(ARGS)

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

torture: $(READY)
	@$(BIN)/python -m tests.torture $(ARGS)

# The properties of `make test` with fifty times as many examples.
properties: $(READY)
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n 2 --timeout 1800 -m "not demo" -k "$(or $(ONLY),test)" $(ARGS)

bench: $(READY)
	@$(BIN)/python -m tests.bench $(ARGS)

# Real servers on loopback, without Docker: Kafka (BROKERS=3 for three), OPA, and PostgreSQL where its script is. OPA is
# built, and serves a site once its configuration is there: OPA=FOLDER of `exchange policy opa-config`, else .tools/opa.
services: $(READY)
	@deploy/local/kafka.sh start $(if $(BROKERS),--brokers $(BROKERS))
	@deploy/local/opa.sh
	@if [ -f "$(or $(OPA),.tools/opa)/opa.json" ]; then deploy/local/opa.sh start $(OPA); fi
	@if [ -x deploy/local/postgres.sh ]; then deploy/local/postgres.sh start; fi

services-stop: $(READY)
	@deploy/local/kafka.sh stop
	@deploy/local/opa.sh stop $(OPA)
	@if [ -x deploy/local/postgres.sh ]; then deploy/local/postgres.sh stop; fi

# The manual as a web site, from the same text that `exchange docs` serves.
docs: $(READY)
	@$(BIN)/exchange docs --out docs

# The exchange as files that install it where there is no network: see deploy/install.sh.
dist: $(READY)
	@$(BIN)/python -m deploy.dist

# Pictures of the pages of a sample site (made for it, or SITE=DIR), for the README.
screenshots: $(READY)
	@$(BIN)/python -m tests.screenshots $(SITE)

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# The lock file names no index: whichever index pip is set up with serves it, and the hashes decide.
lock: $(READY)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-header --no-emit-index-url -o requirements.txt

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("the exchange needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "setting up .venv (once) ..." >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
