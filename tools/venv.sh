#!/bin/sh
# The virtual environment of tests and examples: build/venv-3.11, with build/venv pointing to it.
# Made once per Python, filled again when a list of requirements changes.
set -eu
. "$ROOT/tools/common.sh"

version=$("$PYO3_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=$ROOT/build/venv-$version
base=$("$PYO3_PYTHON" -c 'import sys; print(sys.executable, sys.version)')
wanted=$base
lists=
for list in "$ROOT/tests/requirements.txt" "$ROOT/examples/requirements.txt"; do
    if [ -f "$list" ]; then
        lists="$lists -r $list"
        wanted="$wanted
$(cat "$list")"
    fi
done

mkdir -p "$ROOT/build"
if [ ! -f "$venv/filled" ] || [ "$(cat "$venv/filled")" != "$wanted" ]; then
    "$PYO3_PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
        die "$PYO3_PYTHON has no venv: install python3-venv (make deps installs what is missing on Debian)."
    say "filling build/venv-$version from PyPI for tests and examples"
    # Another 3.11 than last time starts from nothing.
    if [ "$(cat "$venv/base" 2>/dev/null || true)" != "$base" ]; then
        "$PYO3_PYTHON" -m venv --clear "$venv"
        printf '%s\n' "$base" >"$venv/base"
    fi
    rm -f "$venv/filled"
    # shellcheck disable=SC2086 # meant to be split
    [ -z "$lists" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $lists ||
        die "pip could not install what the tests and examples need: see above."
    printf '%s\n' "$wanted" >"$venv/filled"
fi
ln -sfn "venv-$version" "$ROOT/build/venv"
