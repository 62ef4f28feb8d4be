# `make` lists the targets. `make demo` and `make test` set everything up first: the environment .venv, made with the
# first Python of 3.11 to 3.13 that works (or make PYTHON=...), with the versions of constraints.txt.

VENV := .venv
RUN := $(VENV)/bin/python

# Asked of an interpreter: can it make environments, and has TensorFlow 2.21 wheels for it? A shim that fails says no.
USABLE := -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p $(USABLE) && { echo $$p; break; }; done)

# The demo needs neither Beam nor TensorRT: where they are not there yet, they are not installed for it.
DEMO_STAMP := $(or $(wildcard $(VENV)/.all),$(VENV)/.demo)

.PHONY: help install demo ablation test lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "  ARGS='...' is passed on, as in make test ARGS='-k losses'"

install: $(VENV)/.all  ## only set up: the environment .venv

demo: $(DEMO_STAMP)  ## render videos, train with and without connection, compare, predict, export, watch
	@$(RUN) scripts/demo.py $(ARGS)

# Flow that many runs share is stored once.
STORED := --flow=dis --dis_preset=medium --dis_finest_scale=0 --flow_source=stored --record_dir=demo/records_dis

ablation: $(VENV)/.all  ## every kind of connection on the demo set, three seeds each
	@$(RUN) scripts/prepare.py --flagfile=demo.flags $(STORED)
	@$(RUN) scripts/ablate.py --flagfile=demo.flags $(STORED) --workdir=demo/ablation $(ARGS)

# Most tests keep one core busy: two processes at once. What shares much stays in one of them (tests/conftest.py).
PROCESSES := 2

test: $(VENV)/.all  ## all tests but the slow ones (those: ARGS='-m slow')
	@$(RUN) -m pytest -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.all  ## ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

clean:  ## delete the environment, the caches and what the demo made
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .demo and .all say which extras of setup.py the environment has; all of them will do for the demo. While .installing is
# there, an installation has begun and not ended: the next one starts from an empty environment. It becomes the stamp, with
# the time of its beginning, so that a file changed meanwhile is not overlooked.
$(VENV)/.demo $(VENV)/.all: setup.py constraints.txt
	@if [ -e $(VENV)/.installing ] || ! $(RUN) -c '' >/dev/null 2>&1; then \
	  if ! "$(PYTHON)" $(USABLE); then \
	    echo "Python 3.11, 3.12 or 3.13 with its venv module is needed, found: $(or $(PYTHON),none); install one (Debian," \
	      "Ubuntu: apt install python3 python3-venv) or name one, as in make PYTHON=/path/to/python3.12." >&2; \
	    exit 1; \
	  fi; \
	  "$(PYTHON)" -m venv --clear $(VENV); \
	fi
	@rm -f $(VENV)/.demo $(VENV)/.all
	@touch $(VENV)/.installing
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip >/dev/null
	@echo "Installing into $(VENV) for $$($(RUN) -V): a minute, and up to 0.8 GB to download if pip has none of it ..."
	@$(RUN) -m pip install -qq -c constraints.txt setuptools
	@$(RUN) -m pip install -qq -c constraints.txt --no-build-isolation -e '.[$(@F:.%=%)]'
	@mv $(VENV)/.installing $@
	@echo "Installed."
