#!/bin/sh
# CPython's own tests of asyncio, into build/testsuite. Python has them with it; Debian packs them apart, in a package that
# would have Python itself upgraded, so it is only unpacked. Without apt those tests are skipped.
set -eu
. "$ROOT/tools/common.sh"

"$PYO3_PYTHON" -c 'import test.test_asyncio' 2>/dev/null && exit 0
version=$("$PYO3_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || exit 0
place=$ROOT/build/testsuite
[ ! -d "$place/usr/lib/python$version/test/test_asyncio" ] || exit 0
have apt-get && have dpkg-deb || exit 0

say "unpacking CPython's own tests into build/testsuite"
rm -rf "$place"
mkdir -p "$place"
cd "$place"
{
    # The lists of packages may be old, or missing.
    apt-get download -q "libpython$version-testsuite" || {
        [ "$(id -u)" != 0 ] || apt-get update -q
        apt-get download -q "libpython$version-testsuite"
    }
} >"$ROOT/build/apt-testsuite.log" 2>&1 && dpkg-deb -x libpython*-testsuite_*.deb . || {
    say "there is no package libpython$version-testsuite to be had: those tests are skipped"
    rm -rf "$place"
}
