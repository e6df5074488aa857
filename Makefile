# Everything sets itself up: a fresh clone needs Python 3.11 or later, its headers, and a C compiler.
#
#   make run            three node processes form a mesh, exchange traffic and print a table
#   make test           the tests, on asyncio and uvloop; those of discovery by DNS and Redis need the programs dnsmasq
#                       and redis-server (Debian: dnsmasq-base, redis-server), and without them skip and say so
#   make test-interop   the tests against real BEAMs: Debian's, and OTP 28 out of a wheel of PyPI; what is not there is
#                       skipped, and why is said; PARTISAN_ERL_LIBS, a directory of compiled Erlang applications with
#                       Partisan's among them, adds those against nodes of Partisan itself
#   make test-debug     the core's tests on the flavour whose counters must return to zero
#   make test-asan      the core's tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   make test-sdist     sdist to wheel to a clean install, on each Python that is here
#   make soak           a thousand kills amid acknowledged messages, ten minutes of silence between a node and the BEAM, a
#                       large overlay, many clients of few servers, nodes at full load under two overlays, the
#                       simulator's figures beside the papers' (Plumtree's as means over OVERLAYS, of which all bounds are
#                       held if they are 20, which takes long), and the tests that use chance under SEEDS seeds
#   make fuzz           fuzz each of TARGETS (scan, codec, frames, handshake, distribution) for FUZZ_SECONDS; needs clang
#   make bench          the micro benches of the compiled core, each beside what it took in the saved run: the first one, or
#                       the last with BENCH_SAVE=1; pytest's flags in BENCH_ARGS. `python -m partisan.bench` has the
#                       experiments between nodes
#   make docs           the site of the documentation, in build/site
#   make types lint clean
#   make compile debug trace asan     build one flavour in place
#
# PYTHON chooses the interpreter, VENV the virtual environment, PYTEST_ARGS is handed to pytest. EXAMPLES are those of
# property tests: the same each time, or any.

VENV ?= .venv
SEEDS ?= 10
OVERLAYS ?= 1
FUZZ_SECONDS ?= 600
TARGETS ?=
BENCH_ARGS ?=
BENCH_SAVE ?=
PYTEST_ARGS ?=
EXAMPLES ?= same
SDIST_VERSIONS ?= 3.11 3.12 3.13

BIN := $(VENV)/bin
PY := $(BIN)/python
PYTEST = $(BIN)/pytest -q --hypothesis-profile=$(EXAMPLES) $(PYTEST_ARGS)
SOURCES := $(wildcard partisan/_core/*.pyx partisan/_core/*.pxd partisan/bench/netem/*.pyx csrc/*) setup.py
FLAVOURS := release debug trace asan
TEST_TOOLS := $(VENV)/tools-test
LINT_TOOLS := $(VENV)/tools-lint
OTP28 := build/otp28
STUBS := $(sort $(wildcard partisan/_core/*.pyi partisan/bench/netem/*.pyi))

# Sanitizers must come before everything else in the process, and cannot see into Python's own arenas.
ASAN_ENV = LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:malloc_context_size=4 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# Left out of both: what is about the package, the benchmark, the examples or pure Python rather than the core, clusters
# of processes of their own, and the C headers, which tests/unit/csrc puts under sanitizers of their own in `make test`.
CORE_TESTS := tests/unit tests/net tests/conformance $(addprefix --ignore=,tests/unit/csrc tests/net/test_examples.py \
	tests/conformance/test_hyparview.py tests/conformance/test_pluggable.py $(wildcard tests/unit/test_bench_*.py) \
	$(wildcard tests/net/test_discovery*.py tests/*/test_netem.py) \
	$(patsubst %,tests/unit/test_%.py,config discovery docs imports packaging telemetry testing_plugin))
# Left out besides, as each takes long and reaches nothing more of the core: nodes in processes of their own, connections
# by the thousand, messages that Python takes apart.
ASAN_SKIPS := $(addprefix --ignore=,tests/net/test_processes.py tests/net/test_silent_connections.py \
	tests/net/test_every_manager.py tests/net/test_many_processes.py tests/net/test_ring.py \
	tests/net/test_testing_overlays.py \
	tests/net/test_testing_page.py tests/net/test_testing_processes.py tests/unit/test_wire_messages.py)

.PHONY: compile debug trace asan run test test-interop test-debug test-asan test-sdist soak fuzz bench types lint docs clean
.DELETE_ON_ERROR:

compile: build/stamp-release
debug: build/stamp-debug
trace: build/stamp-trace
asan: build/stamp-asan

# `--group` needs pip 25.1.
$(VENV)/stamp-pip: tools/find-python
	python=$$(tools/find-python) && { [ -x $(PY) ] || "$$python" -m venv $(VENV); }
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	touch $@

# Each group of tools of pyproject.toml comes when a target first needs it.
$(VENV)/tools-%: pyproject.toml $(VENV)/stamp-pip
	$(PY) -m pip install --quiet --disable-pip-version-check --group $*
	touch $@

# Flavours share the place of the extensions: another flavour's go before this one's come. The first build also tells the
# environment where the package is.
build/stamp-%: $(VENV)/tools-build $(SOURCES)
	mkdir -p build
	[ "$$(cat build/flavour 2>/dev/null)" = $* ] || \
		rm -f partisan/_core/*.so partisan/bench/netem/*.so $(addprefix build/stamp-,$(FLAVOURS))
	echo $* >build/flavour
	if [ -e $(VENV)/stamp-editable ]; then \
		PARTISAN_BUILD=$* $(PY) setup.py --quiet build_ext --inplace; \
	else \
		PARTISAN_BUILD=$* $(PY) -m pip install --quiet --no-build-isolation --editable . && touch $(VENV)/stamp-editable; \
	fi
	touch $@

run: compile
	$(PY) -m partisan.bench demo

test: compile $(TEST_TOOLS)
	$(PYTEST)

test-interop: compile $(TEST_TOOLS) $(OTP28)
	$(PYTEST) -rs tests/interop

# OTP 28 is newer than any that Debian has. Without it, its tests say that they are skipped.
$(OTP28):
	mkdir -p $(@D)
	-tools/fetch-otp28 $(PY) $@

test-debug: debug $(TEST_TOOLS)
	$(PYTEST) $(CORE_TESTS)

test-asan: asan $(TEST_TOOLS)
	$(ASAN_ENV) $(PYTEST) -p no:cacheprovider $(CORE_TESTS) $(ASAN_SKIPS)

test-sdist: $(VENV)/tools-build
	tools/test-sdist $(PY) $(SDIST_VERSIONS)

soak: EXAMPLES := any
soak: compile $(TEST_TOOLS) $(OTP28)
	$(PY) tests/soak/kills.py --kills 1000 --messages 100000
	$(PY) tests/soak/silence.py --seconds 600
	$(PY) tests/soak/overlay.py --nodes 1024 --kill 0.3
	$(PY) tests/soak/star.py --clients 252 --servers 4
	$(PY) tests/soak/papers.py hyparview-paper xbot scale plumtree-paper --seeds $(OVERLAYS)
	$(PY) tests/soak/busy.py --minutes 10
	$(PY) tests/soak/busy.py --minutes 10 --overlay hyparview
	for seed in $$(seq $(SEEDS)); do echo "seed $$seed"; $(PYTEST) --hypothesis-seed=$$seed tests/machines tests/net || exit 1; done

# Builds its own flavour under out/fuzz and leaves the extensions in place alone.
fuzz: compile $(VENV)/tools-fuzz
	PYTHON=$(PY) TARGETS="$(TARGETS)" tests/fuzz/run.sh $(FUZZ_SECONDS)

bench: compile $(TEST_TOOLS)
	$(PY) -m pytest -q bench --benchmark-quiet --benchmark-disable-gc --benchmark-json=build/bench.json $(BENCH_ARGS)
	$(PY) bench/compare.py build/bench.json .benchmarks/baseline.json $(if $(BENCH_SAVE),--save)

lint: $(LINT_TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: compile $(TEST_TOOLS) $(LINT_TOOLS)
	$(BIN)/mypy
	$(if $(STUBS),$(PY) -m mypy.stubtest --allowlist tests/typing/stubtest-allowlist.txt $(subst /,.,$(STUBS:.pyi=)))

docs: compile $(VENV)/tools-docs
	$(PY) docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

clean:
	rm -rf build dist *.egg-info $(foreach kind,so c html,partisan/_core/*.$(kind) partisan/bench/netem/*.$(kind)) $(VENV)/stamp-editable
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
