# SPDX-License-Identifier: Apache-2.0
# The commands that a person types. The work is in setup/setup.sh, CMake and tests/run.py.
#
#   JOBS=n     parallel compile and test jobs (default: all cores)
#   BENCH=name what `make bench` runs
#   ARGS=...   passed on to `takt demo` or to the benchmark

JOBS ?= $(shell nproc)
BENCH ?=
ARGS ?=
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev build demo test check test-long bench gpu-bundle lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: ## install what is missing: Debian packages and the Python environment .venv
	@setup/setup.sh

setup-dev:
	@setup/setup.sh --dev

# CMake runs by itself when a CMakeLists.txt changes; this rule is for the first time and for
# changed presets.
build/build.ninja: CMakePresets.json | setup
	@cmake --preset release
	@touch $@

build: setup build/build.ninja ## build the program, build/takt
	@cmake --build build -j $(JOBS) --target takt

demo: build ## set up, build, and run the demo line for 60 s
	@build/takt demo $(ARGS)

test: setup-dev ## every test that CI runs; the last line says how many passed
	@$(PYTHON) tests/run.py test --jobs $(JOBS)

check: setup-dev ## the inner loop, under two minutes: format, layering, unit tests
	@$(PYTHON) tests/run.py check --jobs $(JOBS)

test-long: setup-dev ## what CI has no time for: thread sanitizer, clang-tidy, long end-to-end tests
	@$(PYTHON) tests/run.py long --jobs $(JOBS)

bench: setup build/build.ninja ## run a benchmark: make bench BENCH=name (without a name: list them)
	@$(PYTHON) bench/run.py --jobs $(JOBS) "$(BENCH)" $(ARGS)

gpu-bundle: setup build/build.ninja ## pack what a GPU machine needs, build/gpu-bundle.tar.xz
	@cmake --build build -j $(JOBS) --target takt takt_cuda_module takt-gpu-tests takt-gpu-node-tests takt-bench-gpu
	@$(PYTHON) tests/gpu_bundle/pack.py

lint: setup-dev ## clang-tidy over every source file
	@$(PYTHON) tests/run.py lint --jobs $(JOBS)

format: setup-dev ## rewrite the sources with clang-format
	@$(PYTHON) tests/tidy/cpp_format.py --write

clean: ## delete everything that was built (not .venv)
	@rm -rf build
