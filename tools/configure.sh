#!/bin/sh
# Brings nginx's headers into the state that nginx-sys and the shim need: configured. Debian's
# nginx-dev comes unconfigured and may be read-only, so that happens out of tree. The vendored nginx
# is configured and built as a whole, for the tests.
set -eu
. "$ROOT/tools/common.sh"

stamp=$OUT/configured
log=$OUT/configure.log

# What is to be done, as one text: if it is the text of the last time, nothing is to be done.
case $KIND in
debian)
    wanted="$NGINX_SOURCE_DIR $(header_version "$NGINX_SOURCE_DIR")
$(dpkg-query -W -f '${Version}' nginx-dev 2>/dev/null || true)
$(cat "$NGINX_SOURCE_DIR/conf_flags")"
    ;;
vendored)
    # Not from the network but from cargo's registry folder: the crate that Cargo.lock names.
    source=$(
        cargo metadata --locked --format-version 1 --features vendored --manifest-path "$ROOT/Cargo.toml" |
            "$PYO3_PYTHON" -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "nginx-src":
        print(os.path.join(os.path.dirname(package["manifest_path"]), "nginx"))'
    )
    [ -f "$source/src/core/nginx.h" ] ||
        die "the crate nginx-src could not be found: run cargo fetch with a connection to the registry."
    arguments="--prefix=$OUT --error-log-path=stderr
        --with-compat --with-debug --with-threads --with-pcre-jit
        --with-http_ssl_module --with-http_v2_module --with-http_v3_module
        --with-http_realip_module --with-http_auth_request_module --with-http_stub_status_module
        --with-http_addition_module --with-http_gunzip_module --with-http_sub_module
        --with-http_image_filter_module
        --with-select_module --with-poll_module"
    wanted="$source $arguments"
    ;;
custom) exit 0 ;;
esac

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -f "$NGINX_BUILD_DIR/ngx_auto_config.h" ]; then
    exit 0
fi
mkdir -p "$OUT"
rm -f "$stamp"

# Runs the rest of the line, its output into the log; shows the end of it only if it fails.
quietly() {
    "$@" >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "$(short "$log") tells why."
    }
}

: >"$log"
rm -rf "$NGINX_BUILD_DIR"
case $KIND in
debian)
    have bash || die "bash is missing: nginx-dev keeps its configure arguments in bash's syntax."
    say "configuring the headers of nginx $(header_version "$NGINX_SOURCE_DIR") from nginx-dev"
    cd "$NGINX_SOURCE_DIR"
    # Exactly the arguments of Debian's nginx: other ones could mean other structures.
    quietly bash -c '. ./conf_flags && ./configure "${NGX_CONF_FLAGS[@]}" --builddir="$0"' "$NGINX_BUILD_DIR"
    ;;
vendored)
    say "configuring nginx $(header_version "$source")"
    rm -rf "$NGINX_SOURCE_DIR"
    cp -R "$source" "$NGINX_SOURCE_DIR"
    chmod -R u+w "$NGINX_SOURCE_DIR"
    cd "$NGINX_SOURCE_DIR"
    # shellcheck disable=SC2086 # meant to be split
    quietly auto/configure $arguments --builddir="$NGINX_BUILD_DIR"
    say "building nginx $(header_version "$source") in $(short "$OUT"), which takes a minute or two"
    # Variables given to our make are not meant for nginx's.
    unset MAKEFLAGS MAKEOVERRIDES MFLAGS
    quietly make -j "$(getconf _NPROCESSORS_ONLN)" -f "$NGINX_BUILD_DIR/Makefile" build
    quietly make -f "$NGINX_BUILD_DIR/Makefile" install
    ;;
esac
printf '%s\n' "$wanted" >"$stamp"
