#!/bin/sh
# Builds the module with cargo (which skips what is done) and puts it at $WSGI_MODULE, then lets
# nginx itself say whether it takes it.
set -eu
. "$ROOT/tools/common.sh"

cd "$ROOT"
mkdir -p "$OUT"
python=$("$PYO3_PYTHON" -c 'import sys; print("%s %s" % (sys.executable, sys.version.split()[0]))')
nginx="$KIND nginx $(header_version "$NGINX_SOURCE_DIR")"
say "building $(short "$WSGI_MODULE") for $nginx and Python ${python#* } (${python%% *})"

# cargo notices another path of Python, not another Python at the same path.
last=$(cat "$OUT/python" 2>/dev/null || true)
if [ "$last" != "$python" ] && [ "${last%% *}" = "${python%% *}" ]; then
    cargo clean --quiet --locked -p pyo3-ffi --profile "$CARGO_PROFILE"
fi

# What pgo.sh has counted. A function that has changed since is compiled as without it.
if [ "$CARGO_PROFILE" = release ] && [ -f "$WSGI_PROFILE" ]; then
    cargo rustc --locked --profile release --lib -- -Cprofile-use="$WSGI_PROFILE"
else
    cargo build --locked --profile "$CARGO_PROFILE"
fi
printf '%s\n' "$python" >"$OUT/python"

# The file is replaced, never written over: a running nginx may have the old one mapped.
built=$CARGO_TARGET_DIR/$CARGO_PROFILE/libngx_http_wsgi_module.so
if [ -f "$WSGI_MODULE" ] && cmp -s "$built" "$WSGI_MODULE"; then
    say "$(short "$WSGI_MODULE") is up to date"
    exit 0
fi
cp "$built" "$WSGI_MODULE.new"
chmod 644 "$WSGI_MODULE.new"
if [ -x "$WSGI_NGINX" ]; then
    say "letting $(short "$WSGI_NGINX") load it"
    printf 'load_module "%s";\npid "%s";\nevents {}\n' "$WSGI_MODULE.new" "$OUT/load.pid" >"$OUT/load.conf"
    if ! "$WSGI_NGINX" -t -q -p "$OUT" -e stderr -c "$OUT/load.conf"; then
        rm -f "$WSGI_MODULE.new" "$WSGI_MODULE"
        die "$WSGI_NGINX does not load the module: see docs/compatibility.md."
    fi
    rm -f "$OUT/load.conf" "$OUT/load.pid"
else
    say "no nginx at $WSGI_NGINX to try it with"
fi
mv "$WSGI_MODULE.new" "$WSGI_MODULE"
