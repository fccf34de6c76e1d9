# make help lists targets and variables.

# debian, vendored, or the path of a configured source folder of nginx.
NGINX ?= debian
# Debian's own Python before one that happens to come first on PATH: nginx is Debian's too.
PYTHON ?= $(if $(wildcard /usr/bin/python3),/usr/bin/python3,python3)
# serve: the port on 127.0.0.1.
PORT ?= 8080
# pytest, test: more arguments for pytest. Two servers at a time are what two cores can take.
PYTEST_ARGS ?= -n 2
# python: where it puts one.
PYTHON_PREFIX ?= $(ROOT)/build/python
# install, uninstall: put before the path, for packages.
DESTDIR ?=

ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))

ifneq ($(findstring /,$(NGINX)),)
  KIND := custom
else ifneq ($(filter $(NGINX),debian vendored),)
  KIND := $(NGINX)
else
  $(error NGINX is "$(NGINX)", but debian, vendored or the path of a configured nginx is expected)
endif

OUT := $(ROOT)/build/$(KIND)
WSGI_PROFILE = $(OUT)/module.profdata
WSGI_MODULE := $(OUT)/ngx_http_wsgi_module.so
CARGO_TARGET_DIR := $(OUT)/target
CARGO_PROFILE := release

ifeq ($(KIND),debian)
  NGINX_SOURCE_DIR := /usr/share/nginx/src
  NGINX_BUILD_DIR := $(OUT)/objs
  # The package's binary before another one on PATH.
  WSGI_NGINX := $(or $(wildcard /usr/sbin/nginx),$(shell command -v nginx),/usr/sbin/nginx)
else ifeq ($(KIND),vendored)
  NGINX_SOURCE_DIR := $(OUT)/src
  NGINX_BUILD_DIR := $(OUT)/objs
  WSGI_NGINX := $(OUT)/sbin/nginx
  # Built for tests: with Rust's assertions, compiled faster, and with a default of wsgi_temp_path that only
  # the build can have given.
  CARGO_PROFILE := checked
  export NGX_HTTP_WSGI_TEMP_PATH := wsgi_temp_of_build
else
  NGINX_SOURCE_DIR := $(abspath $(NGINX))
  NGINX_BUILD_DIR := $(abspath $(NGINX))/objs
  WSGI_NGINX := $(or $(wildcard $(NGINX_BUILD_DIR)/nginx),$(shell command -v nginx),/usr/sbin/nginx)
endif

# A shim or a virtual environment is traced back to the interpreter behind it, whose library it is.
PYO3_PYTHON := $(or $(shell $(PYTHON) -c 'import sys; \
  print(getattr(sys, "_base_executable", None) or sys.executable)' 2>/dev/null),$(PYTHON))
WSGI_PYTHON := $(PYO3_PYTHON)

export ROOT KIND OUT WSGI_PROFILE PORT DESTDIR CARGO_TARGET_DIR CARGO_PROFILE NGINX_SOURCE_DIR NGINX_BUILD_DIR
export PYO3_PYTHON WSGI_NGINX WSGI_MODULE WSGI_PYTHON PYTHON_PREFIX
# For nginx a variable of this name is a list of sockets that it inherits.
unexport NGINX

VENV := $(ROOT)/build/venv/bin/python
# The same build with other words on the command line; nothing else of it is passed on.
AGAIN := $(MAKE) --no-print-directory

.DEFAULT_GOAL := all
# Targets follow one another; cargo and nginx's make use all cores themselves.
.NOTPARALLEL:
.SUFFIXES:
.PHONY: all rust deps check configure venv install uninstall serve test check-fmt fmt lint unit loom pytest \
  pgo python fast bench bench-waiting bench-postgres instructions soak conformance valgrind faults clean help

#: build the module for NGINX and PYTHON: build/$(NGINX)/ngx_http_wsgi_module.so
all: configure
	@tools/build.sh

#: build it with what it does often in mind: up to a tenth less CPU time; two minutes
pgo: all venv
	@tools/deps.sh bench
	@tools/pgo.sh
	@tools/build.sh

#: install by apt what is missing for build and tests; never starts or upgrades nginx
deps:
	@tools/deps.sh build test
	@tools/testsuite.sh

#: say in one sentence what the build lacks, if anything
check:
	@tools/check.sh

# Before anything is installed for a build that cannot happen.
rust:
	@tools/check.sh rust

#: configure Debian's nginx headers, or build the vendored nginx; done once
configure: check
	@tools/configure.sh

#: fill build/venv with what tests and examples need from PyPI; done once
venv:
	@tools/venv.sh

#: copy the module into nginx's modules path; honours DESTDIR
install:
	@tools/install.sh install

#: remove it from there
uninstall:
	@tools/install.sh uninstall

#: nginx with all examples on 127.0.0.1:PORT, in the foreground, out of build/serve
serve: rust deps all venv
	@exec tools/serve.sh

#: everything: format, lints, unit tests, instructions, pytest with Debian's nginx and with the vendored one
test:
	@tools/test.sh "$(AGAIN)"

#: rewrite src/ in the project's format
fmt:
	cargo fmt

#: is src/ formatted?
check-fmt:
	@echo "== checking the format of src/"
	@cargo fmt --check

#: clippy, warnings are errors
lint: configure
	@echo "== running clippy for $(KIND) nginx"
	@cargo clippy --locked -- -D warnings
	@# In a test build the rooms that call nginx are left out, and with them the users of much else.
	@cargo clippy --locked --tests -- -D warnings -A dead_code -A unused_imports

#: the unit tests, which need no nginx
unit: configure
	@echo "== running the unit tests"
	@cargo test --locked

#: the tests in tests/ for NGINX; PYTEST_ARGS="-k name -x" chooses
pytest: all venv
	@tools/pytest.sh $(PYTEST_ARGS)

#: the interleavings of what threads and nginx hand over, tried by loom
loom: rust
	@cd tests/loom && LOOM_MAX_PREEMPTIONS=2 RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$(ROOT)/build/loom" \
	  cargo test --release --locked

#: a Python with an optimised shared library, from Debian's source package: build/python; twenty minutes
python:
	@tools/libpython.sh

#: the module once more, for that Python: build/$(NGINX)-fast/ngx_http_wsgi_module.so
fast:
	@$(AGAIN) all OUT="$(OUT)-fast" PYTHON="$(PYTHON_PREFIX)/bin/python3" WSGI_PROFILE="$(WSGI_PROFILE)"

# What is compared with the module, if it can be.
ifndef WSGI_MODULE_FAST
ifneq ($(wildcard $(PYTHON_PREFIX)/bin/python3),)
  export WSGI_MODULE_FAST := $(OUT)-fast/ngx_http_wsgi_module.so
  bench: fast
endif
endif

$(WSGI_PROFILE):
	@$(AGAIN) pgo

#: what a request costs, beside nginx itself and ten other servers; BENCH="hello json" PEERS="uwsgi" chooses
bench: $(WSGI_PROFILE) all venv
	@tools/deps.sh bench test
	@echo "== running bench/run.py"
	@$(VENV) bench/run.py

#: 5,000 requests that wait in one worker: memory, CPU time, and a file beside them
bench-waiting: all venv
	@tools/deps.sh bench test
	@echo "== running bench/waiting.py"
	@$(VENV) bench/waiting.py $(BENCH)

#: a view that awaits one query of PostgreSQL, beside granian and uvicorn
bench-postgres: all venv
	@tools/deps.sh bench test
	@echo "== running bench/postgres.py"
	@$(VENV) bench/postgres.py $(BENCH)

#: instructions of a request, counted by callgrind; RECORD=1 records them, PROFILE=hello shows where
instructions: all venv
	@tools/deps.sh valgrind
	@echo "== running bench/instructions.py"
	@$(VENV) bench/instructions.py

#: ten minutes of good and bad visitors on applications in threads, looking for leaks; DURATION=60 is one
soak: all venv
	@tools/deps.sh test
	@echo "== running bench/soak.py"
	@$(VENV) bench/soak.py

#: what WSGI servers make of PEP 3333, side by side: writes docs/conformance.md
conformance: all venv
	@tools/deps.sh conformance
	@echo "== running bench/conformance/run.py"
	@$(VENV) bench/conformance/run.py

#: a short run of the tests under valgrind's memcheck
valgrind: all venv
	@tools/deps.sh valgrind
	@echo "== running tests/valgrind.sh"
	@tests/valgrind.sh

#: the calls of nginx and of the module fail one after the other, and much else; ten minutes
faults: all venv
	@echo "== running tests/faults/every_call.py and tests/test_faults_*.py"
	@WSGI_RESET_STRIDE=1 PYTHONDONTWRITEBYTECODE=1 $(VENV) -m pytest $(PYTEST_ARGS) tests/faults/every_call.py \
	  tests/test_faults_*.py

#: remove build/
clean:
	rm -rf "$(ROOT)/build"

#: this list
help:
	@echo "Targets:"
	@awk '/^#: /{text=substr($$0, 4)} /^[a-z-]+:/{if (text != "") {sub(/:.*/, ""); \
	  printf "  %-14s %s\n", $$0, text}; text=""}' Makefile
	@echo
	@echo "Variables:"
	@echo "  NGINX          debian (as now installed, the default), vendored (1.28 from the crate nginx-src),"
	@echo "                 or the path of a source folder of nginx where ./configure was run"
	@echo "  PYTHON         the interpreter to build for, 3.9 or newer, with a shared library: $(PYTHON)"
	@echo "  PYTHON_PREFIX  python: where it puts one: $(PYTHON_PREFIX)"
	@echo "  PORT           serve: the port on 127.0.0.1: $(PORT)"
	@echo "  PYTEST_ARGS    pytest, test: arguments for pytest: $(PYTEST_ARGS)"
	@echo "  BENCH          bench: workloads, all of them unless said; PEERS: servers; ROUNDS: 7 (bench/README.md)"
	@echo "  DESTDIR        install, uninstall: a folder to take for /"
