#!/bin/sh
# Runs a part of the tests with nginx under valgrind's memcheck, and fails when memory was misused by the module.
#
#     tests/valgrind.sh [arguments of pytest instead of the usual selection]
#
# Uses WSGI_NGINX, WSGI_MODULE and WSGI_PYTHON as the tests do (see README.md); PYTEST names the command pytest.
# CPython's own allocator would hide what happens inside its arenas. PYTHONMALLOC does not reach an isolated
# interpreter, so a small library, preloaded, makes it use malloc from the start.
set -eu
cd "$(dirname "$0")/.."
here=tests
out=build/valgrind
python=${WSGI_PYTHON:-/usr/bin/python3}
pytest=${PYTEST:-build/venv/bin/python -m pytest}

command -v valgrind >/dev/null || { echo "valgrind is missing; on Debian: apt-get install valgrind" >&2; exit 1; }
rm -rf "$out"
mkdir -p "$out/reports"

echo "valgrind: building the library that replaces CPython's allocator"
flags=$("$python" -c 'import sysconfig as s
paths = {s.get_path("include"), s.get_path("platinclude")}
print(*("-I" + path for path in paths), "-L" + s.get_config_var("LIBDIR"), "-Wl,-rpath," + s.get_config_var("LIBDIR"),
      "-lpython" + s.get_config_var("LDVERSION"))')
# shellcheck disable=SC2086
cc -shared -fPIC -O1 -g -o "$out/malloc.so" "$here/valgrind_malloc.c" $flags

# A deep stack shows who called into libpython; freed memory is kept for long, so that a late use is seen as one.
# Values that were never set are left out: CPython computes with some, to no effect. With XML memcheck always looks
# for leaks, so it is told not to show any.
wrapper="env LD_PRELOAD=$PWD/$out/malloc.so valgrind --quiet --tool=memcheck --error-limit=no --num-callers=60
    --freelist-vol=200000000 --keep-debuginfo=yes --leak-check=no --show-leak-kinds=none
    --undef-value-errors=no --child-silent-after-fork=yes
    --suppressions=$PWD/$here/valgrind.supp --xml=yes --xml-file=$PWD/$out/reports/%p.xml"
export WSGI_WRAPPER="$(echo $wrapper)"
export WSGI_SLOW="${WSGI_SLOW:-15}"

if [ $# -eq 0 ]; then
    set -- -n 2 -m "not slow" \
        $here/test_pep3333_*.py $here/test_close_exactly_once.py $here/test_nginx_features_subrequests.py \
        $here/test_input_protocol.py $here/test_write_callable.py $here/test_file_wrapper.py \
        -k "not rss and not 50_mib and not shrinks"
fi
echo "valgrind: $pytest $*"
status=0
$pytest "$@" || status=$?
"$python" $here/valgrind_report.py "$out/reports" || exit 1
if [ $status -ne 0 ]; then
    # Tests compare times and sizes that are others under valgrind; what counts here are the reports.
    echo "valgrind: pytest ended with $status; memory was not misused"
fi
[ $status -le 1 ]
