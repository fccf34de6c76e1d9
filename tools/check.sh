#!/bin/sh
# check.sh [rust]: is everything there that the build needs? Says the first thing that is missing, in
# one sentence. With "rust" only what make deps cannot install.
set -eu
. "$ROOT/tools/common.sh"

deps='make deps installs what is missing on Debian'

# Rust
have cargo || die "Rust is missing: install Rust 1.88 or newer, for example from https://rustup.rs."
rust=$(rustc --version 2>/dev/null || echo "this Rust")
minor=$(printf '%s' "$rust" | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
[ "${minor:-0}" -ge 88 ] ||
    die "$rust is too old: install Rust 1.88 or newer (rustup update stable)."
[ "${1:-}" != rust ] || exit 0

# C, for the shim and for nginx's configure
have "${CC:-cc}" || die "the C compiler ${CC:-cc} is missing: install gcc and libc6-dev ($deps)."

# bindgen's libclang
if [ -z "${LIBCLANG_PATH:-}" ]; then
    found=
    for file in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* /usr/lib*/libclang*.so* \
        /usr/local/lib*/libclang*.so* /usr/lib64/llvm*/lib*/libclang*.so* /opt/homebrew/opt/llvm/lib/libclang.dylib; do
        case $file in *libclang-cpp*) continue ;; esac
        [ -e "$file" ] && found=$file && break
    done
    if [ -z "$found" ] && have llvm-config; then
        found=$(ls "$(llvm-config --libdir)"/libclang.* 2>/dev/null || true)
    fi
    # Its own headers (stddef.h and friends) come in another package.
    if have dpkg-query; then
        ls /usr/lib/llvm-*/lib/clang/*/include/stddef.h >/dev/null 2>&1 || found=
    fi
    [ -n "$found" ] ||
        die "libclang is missing: install libclang-dev ($deps), or set LIBCLANG_PATH to the folder of libclang.so."
fi

# Python
have "$PYO3_PYTHON" || die "there is no Python at \"$PYO3_PYTHON\": install python3 and python3-dev, or set PYTHON."
answer=$("$PYO3_PYTHON" "$ROOT/tools/python.py" 2>&1) || answer=
[ "$answer" = usable ] || die "${answer:-"$PYO3_PYTHON" is no Python: set PYTHON to a Python 3.9 or newer.}"

# nginx
case $KIND in
debian)
    [ -f "$NGINX_SOURCE_DIR/src/core/nginx.h" ] && [ -f "$NGINX_SOURCE_DIR/conf_flags" ] ||
        die "nginx's headers are missing: install nginx-dev ($deps), or use make NGINX=vendored."
    headers=$(header_version "$NGINX_SOURCE_DIR")
    if [ -x "$WSGI_NGINX" ]; then
        binary=$(binary_version "$WSGI_NGINX")
        [ "$binary" = "$headers" ] ||
            die "$WSGI_NGINX is nginx $binary but nginx-dev has the headers of $headers: install both in" \
                "one version (apt-get install nginx nginx-dev)."
        # The same number is not enough: a security update may change a structure.
        if have dpkg-query; then
            package=$(dpkg-query -S "$WSGI_NGINX" 2>/dev/null | cut -d: -f1 | head -n 1)
            if [ -n "$package" ]; then
                of_nginx=$(dpkg-query -W -f '${Version}' "$package")
                of_headers=$(dpkg-query -W -f '${Version}' nginx-dev 2>/dev/null || echo "$of_nginx")
                [ "$of_nginx" = "$of_headers" ] ||
                    die "the package $package is $of_nginx but nginx-dev is $of_headers: install both in" \
                        "one version (apt-get install $package nginx-dev)."
            fi
        fi
    fi
    ;;
custom)
    [ -f "$NGINX_SOURCE_DIR/src/core/nginx.h" ] ||
        die "$NGINX_SOURCE_DIR is no source folder of nginx: set NGINX to debian, vendored or such a folder."
    [ -f "$NGINX_BUILD_DIR/ngx_auto_config.h" ] ||
        die "the nginx in $NGINX_SOURCE_DIR is not configured: run ./configure there with the arguments" \
            "that nginx -V prints."
    headers=$(header_version "$NGINX_SOURCE_DIR")
    ;;
vendored)
    headers=
    for header in openssl/ssl.h pcre2.h zlib.h gd.h; do
        printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <%s>\n' "$header" | "${CC:-cc}" -E - >/dev/null 2>&1 ||
            die "the header $header is missing: install libssl-dev, libpcre2-dev, zlib1g-dev and libgd-dev ($deps)."
    done
    ;;
esac
case $headers in
0.* | 1.[0-9].* | 1.1[0-9].* | 1.2[01].*)
    die "nginx $headers is too old for this module, which needs nginx 1.22.0 or newer: install a newer" \
        "one, or use make NGINX=vendored."
    ;;
esac
