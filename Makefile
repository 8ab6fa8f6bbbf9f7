# A thin front over Meson. `make help` says what there is.

BUILD  ?= build
PREFIX ?= /usr/local
# Debian's python3-* packages belong to this interpreter
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
# Extra arguments of run and bench
ARGS   ?=
# How long `make fuzz` works on each target, and after how many runs it is enough (0: only the time counts)
SECONDS ?= 60
RUNS ?= 0
# How long `make soak` lasts
MINUTES ?= 30

.PHONY: all help setup run test quick bench lint format fault differential drain attack tsan coverage fuzz soak install clean
.NOTPARALLEL:

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is not installed. Type: make setup" >&2; exit 1; }
	@meson setup $(BUILD) --buildtype=release || { echo "If a package is missing, type: make setup" >&2; exit 1; }

help:
	@echo 'make            build the command $(BUILD)/tenon and the library'
	@echo 'make run        install what is missing, build, start an echo server: `tenon serve` (ARGS=... for others)'
	@echo 'make test       install what is missing, run every test; `make quick` without sanitizers and fuzzing'
	@echo 'make bench      install what is missing, measure tenon beside bare loops and other servers (ARGS=...)'
	@echo 'make fault      every allocation of every scenario fails once, and all from each on: hours (ARGS=...)'
	@echo '                with ARGS="--io 1" every system call and operation, with each error; "--bends 1" none, but bent'
	@echo 'make differential  10,000 scripts of traffic, the same on every engine: minutes (ARGS=...)'
	@echo 'make drain      a million messages, the server told to stop in their midst twenty times'
	@echo 'make attack     clients too many, too slow, deaf or hostile: what they cost, beside what is promised; five minutes'
	@echo 'make fuzz       fuzz every target for a minute (SECONDS=... RUNS=...), keeping the smallest of what is found'
	@echo 'make soak       one server under every kind of load for half an hour (MINUTES=...): nothing may grow'
	@echo 'make tsan       what has threads, under ThreadSanitizer'
	@echo 'make coverage   run the tests, then print which lines of src and cmd they reached'
	@echo 'make lint       install what is missing, check layout, include directions and likely bugs'
	@echo 'make format     lay out the C code'
	@echo 'make install    install to $(PREFIX) (PREFIX=..., DESTDIR=...)'
	@echo 'make setup      only install the packages that building and testing need (they are listed in packages.txt)'
	@echo 'make clean      remove all that was built'

setup:
	@scripts/setup build test

run:
	@scripts/setup build
	@$(MAKE) --no-print-directory all
	@exec $(BUILD)/tenon serve $(ARGS)

test:
	@scripts/setup build test
	@$(PYTHON) scripts/test

quick:
	@scripts/setup build test
	@$(PYTHON) scripts/test quick

bench:
	@scripts/setup build bench
	@test -f build-bench/build.ninja || meson setup build-bench --buildtype=release -Dbench=true
	@ninja -C build-bench
	@$(PYTHON) bench/run.py --tenon build-bench/tenon --build build-bench $(ARGS)

# ARGS: --io 1, --bends 1, --sample N --seed S, a scenario's name, or the one trial that a failure names
fault: all
	@$(BUILD)/tests/fault/fault $(ARGS)

# ARGS: --from N --scripts N, the one that a failure names (--seed N), the engines to compare
differential: all
	@$(BUILD)/tests/differential/differential $(ARGS)

drain: all
	@TENON_DRAINS=10 TENON=$(CURDIR)/$(BUILD)/tenon TENON_BUILD=$(CURDIR)/$(BUILD) $(PYTHON) -m pytest -q \
		-p no:cacheprovider tests/e2e/test_drain.py

# ARGS: engines. Figures are for a machine that has nothing else to do
attack: all
	@TENON=$(CURDIR)/$(BUILD)/tenon TENON_BUILD=$(CURDIR)/$(BUILD) $(PYTHON) tests/e2e/attack.py $(ARGS)

tsan:
	@scripts/setup build test
	@$(PYTHON) scripts/test tsan

coverage:
	@scripts/setup build test coverage
	@$(PYTHON) scripts/test coverage

fuzz:
	@scripts/setup build test
	@$(PYTHON) scripts/test fuzz --seconds $(SECONDS) --runs $(RUNS)

soak: all
	@TENON=$(CURDIR)/$(BUILD)/tenon $(PYTHON) -B tests/e2e/soak.py --minutes $(MINUTES) $(ARGS)

lint:
	@scripts/setup build test lint
	@$(MAKE) --no-print-directory all
	@scripts/lint $(BUILD)

format:
	@scripts/setup lint
	@scripts/lint --format

# The prefix is fixed when configuring: pkg-config's file holds it. Meson's own choice of lib64 is not searched on Debian
install: all
	@meson configure $(BUILD) -Dprefix='$(PREFIX)' -Dlibdir=lib
	@ninja -C $(BUILD)
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-analyzer build-asan build-bench build-coverage build-fuzz build-test build-tsan
