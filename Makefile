# A thin front over Meson. `make help` says what there is.

BUILD  ?= build
PREFIX ?= /usr/local
# Debian's python3-* packages belong to this interpreter
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
# Extra arguments of run and bench
ARGS   ?=
# The dynamic linker finds libraries by a cache, which only root may write. A library in a directory that the cache does
# not cover, or installed by somebody else, is found by the run path in the pkg-config file (meson.build).
ldconfig = [ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || PATH="$$PATH:/sbin:/usr/sbin" ldconfig
# How long `make fuzz` works on each target, and after how many runs it is enough (0: only the time counts)
SECONDS ?= 60
RUNS ?= 0
# How long `make soak` lasts
MINUTES ?= 30

.PHONY: all help setup run test quick bench lint format fault differential compose drain attack tsan coverage mutation \
	minimal python fuzz soak bare dist static deb install uninstall clean
.NOTPARALLEL:

all:
	@scripts/configure $(BUILD) --buildtype=release
	@ninja -C $(BUILD)

help:
	@echo 'make            build the command $(BUILD)/tenon and the library'
	@echo 'make run        install what is missing, build, start `tenon serve` (ARGS=... for others than echo)'
	@echo 'make test       install what is missing, run every test; `make quick` without sanitizers and fuzzing'
	@echo 'make python     build the Python module and run its tests (pip install ./python installs it)'
	@echo 'make bench      install what is missing, measure tenon beside bare loops and other servers (ARGS=...)'
	@echo 'make fault      every allocation of every scenario fails once, and all from each on: hours (ARGS=...)'
	@echo '                with ARGS="--io 1" every system call and operation, with each error;'
	@echo '                "--bends 1" none, but bent'
	@echo 'make differential  10,000 scripts of traffic, the same on every engine: minutes (ARGS=...)'
	@echo 'make compose    2,000 scenarios on each engine: servers, relays, clients, loops, ends,'
	@echo '                and a model of them (ARGS=...)'
	@echo 'make drain      a million messages through a server, and a relay, told to stop in their midst twenty'
	@echo '                times; twenty restarts of each under 500 new connections a second'
	@echo 'make attack     clients too many, too slow, deaf or hostile: what they cost, beside what is'
	@echo '                promised; five minutes'
	@echo 'make fuzz       fuzz every target for a minute (SECONDS=... RUNS=...), keeping the'
	@echo '                smallest of what is found'
	@echo 'make soak       one server under every kind of load for half an hour (MINUTES=...): nothing may grow'
	@echo 'make tsan       what has threads, under ThreadSanitizer'
	@echo 'make coverage   run the tests, then print which lines of src and cmd they reached'
	@echo 'make mutation   plants small mistakes, one at a time: do the tests notice?'
	@echo '                (ARGS="--seed 1 --sample 50 --only src/conn")'
	@echo 'make lint       install what is missing, check layout, include directions and likely bugs'
	@echo 'make format     lay out the C code'
	@echo 'make bare       do what the README says, in its order, on a bare Debian 12 that it makes first'
	@echo '                (root; ARGS=--full)'
	@echo 'make dist       pack the source, always as the same bytes, in build-dist'
	@echo 'make static     one binary that needs no library, in build-static, tried in an empty system'
	@echo 'make deb        install what is missing, build the Debian packages in build-deb, with lintian,'
	@echo '                and (as root) install and test them in a copy of this system'
	@echo 'make install    install to $(PREFIX) (PREFIX=..., DESTDIR=...)'
	@echo 'make uninstall  remove what make install has installed'
	@echo 'make setup      only install the packages that building and testing need (listed in packages.txt)'
	@echo 'make clean      remove all that was built'

setup:
	@scripts/setup build test python

run:
	@BUILD='$(BUILD)' ./run $(ARGS)

test:
	@PYTHON='$(PYTHON)' ./test

quick:
	@PYTHON='$(PYTHON)' ./test quick

# The module, with the library in build, tested; and that pip builds and installs it
python:
	@scripts/setup build test python
	@$(PYTHON) scripts/test python

bench:
	@scripts/setup build bench
	@scripts/configure build-bench --buildtype=release -Dbench=true
	@ninja -C build-bench
	@$(PYTHON) bench/run.py --tenon build-bench/tenon --build build-bench $(ARGS)

# ARGS: --io 1, --bends 1, --sample N --seed S, a scenario's name, or the one trial that a failure names
fault: all
	@$(BUILD)/tests/fault/fault $(ARGS)

# ARGS: --from N --scripts N, the one that a failure names (--seed N), the engines to compare
differential: all
	@$(BUILD)/tests/differential/differential $(ARGS)

# ARGS: --from N --scripts N, the one that a failure names (--seed N, and --cut for what is left of it), engines
compose: all
	@$(BUILD)/tests/compose/compose $(ARGS)

drain: all
	@TENON_DRAINS=10 TENON=$(CURDIR)/$(BUILD)/tenon TENON_BUILD=$(CURDIR)/$(BUILD) $(PYTHON) -m pytest -q \
		-p no:cacheprovider tests/e2e/test_drain.py tests/e2e/test_handover.py
	@TENON_DRAINS=10 TENON=$(CURDIR)/$(BUILD)/tenon TENON_BUILD=$(CURDIR)/$(BUILD) $(PYTHON) -m pytest -q \
		-p no:cacheprovider tests/e2e/test_relay.py -k drains

# ARGS: engines. Figures are for a machine that has nothing else to do
attack: all
	@TENON=$(CURDIR)/$(BUILD)/tenon TENON_BUILD=$(CURDIR)/$(BUILD) $(PYTHON) tests/e2e/attack.py $(ARGS)

tsan:
	@scripts/setup build test
	@$(PYTHON) scripts/test tsan

minimal:
	@scripts/setup build test
	@$(PYTHON) scripts/test minimal

coverage:
	@scripts/setup build test coverage
	@$(PYTHON) scripts/test coverage

# ARGS: scripts/mutation --help
mutation:
	@scripts/setup build test mutation
	@$(PYTHON) scripts/mutation $(ARGS)

fuzz:
	@scripts/setup build test
	@$(PYTHON) scripts/test fuzz --seconds $(SECONDS) --runs $(RUNS)

soak: all
	@TENON=$(CURDIR)/$(BUILD)/tenon $(PYTHON) -B tests/e2e/soak.py --minutes $(MINUTES) $(ARGS)

# ARGS: --full for the whole of ./test (the quick part otherwise), --keep to keep the system that was made
bare:
	@scripts/setup bare
	@$(PYTHON) scripts/bare $(ARGS)

lint:
	@scripts/setup build test lint
	@$(MAKE) --no-print-directory all
	@scripts/lint $(BUILD)

format:
	@scripts/setup lint
	@scripts/lint --format

dist:
	@scripts/dist

static:
	@scripts/setup build
	@scripts/static

deb:
	@scripts/setup build deb
	@scripts/deb
	@[ "$$(id -u)" != 0 ] || scripts/deb --test

# The prefix is fixed when configuring: the pkg-config file holds it. Meson would choose lib64, which Debian does not
# search
install: all
	@meson configure $(BUILD) -Dprefix='$(PREFIX)' -Dlibdir=lib
	@ninja -C $(BUILD)
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD) --no-rebuild
	@$(ldconfig)

# Removes the files that the last `make install` from this clone has written
uninstall:
	@test -f $(BUILD)/meson-logs/install-log.txt || { echo "nothing was installed from $(BUILD)" >&2; exit 1; }
	@ninja -C $(BUILD) uninstall
	@$(ldconfig)

clean:
	rm -rf build build-analyzer build-bare build-asan build-bench build-coverage build-deb build-dist build-fuzz \
		build-minimal \
		build-mutation build-python build-python-asan build-static build-test build-tsan
