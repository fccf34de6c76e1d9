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
export WSGI_SLOW="${WSGI_SLOW:-8}"

if [ $# -eq 0 ]; then
    # A start of Python takes seconds here, so: few servers, each with much to do.
    names="test_10 or test_16 or test_19_errors or test_28 or test_30 or test_36_content or test_37 or test_42_an or \
        test_46 or test_47 or cookies_and_repeated or test_http_2 or test_http_3 or every_size_argument or \
        newlines_at_the_borders or after_the_request_is_like or pipelined_requests or reuses_or_drops or \
        blocks_of_every_size or context_of_its_own or mixed or never_reads or past_content_length or \
        from_a_subrequest or reset_stream_removes or blocks_after_writes or through_gzip or \
        position_with_its_length or client_leaves or generators_run or thousand or gone_while_a_subrequest or \
        single_process or fast_shutdown or ssi_includes or in_parallel or auth_request or mirror or \
        every_character"
    set -- -n 2 -q \
        $here/test_pep3333_body.py $here/test_pep3333_start_response.py $here/test_pep3333_streams.py \
        $here/test_pep3333_file_wrapper.py $here/test_environ_headers.py $here/test_environ_connection.py \
        $here/test_input_against_bytesio.py $here/test_input_protocol.py $here/test_iteration_blocks.py \
        $here/test_write_callable.py $here/test_write_spilled.py $here/test_file_wrapper.py \
        $here/test_close_exactly_once.py $here/test_nginx_features_subrequests.py $here/test_headers_injection.py \
        -k "$(echo $names)"
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
