#!/bin/sh
# deps.sh GROUP...: installs by apt what is missing for build, test, bench and so on. It asks for
# what is needed, not for names of packages, so that a compiler or a Python from elsewhere counts.
set -eu
. "$ROOT/tools/common.sh"

missing=
need() { missing="$missing $1"; }
file() { for path in "$@"; do [ -e "$path" ] && return 0; done; return 1; }
header() { printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <%s>\n' "$1" | cc -E - >/dev/null 2>&1; }

for group in "$@"; do
    case $group in
    build)
        have cc || need gcc
        header stdio.h || need libc6-dev
        [ -n "${LIBCLANG_PATH:-}" ] || {
            file /usr/lib/llvm-*/lib/libclang*.so* && file /usr/lib/llvm-*/lib/clang/*/include/stddef.h
        } || need libclang-dev
        [ "$KIND" = custom ] || [ -x "$WSGI_NGINX" ] || [ "$KIND" = vendored ] || need nginx
        [ "$KIND" != debian ] || file "$NGINX_SOURCE_DIR/conf_flags" || need nginx-dev
        header openssl/ssl.h || need libssl-dev
        header pcre2.h || need libpcre2-dev
        header zlib.h || need zlib1g-dev
        header gd.h || need libgd-dev
        # Other Pythons than Debian's have their libraries with them.
        case $PYO3_PYTHON in
        /usr/bin/*)
            have "$PYO3_PYTHON" || need python3
            [ "$("$PYO3_PYTHON" "$ROOT/tools/python.py" 2>/dev/null)" = usable ] || need python3-dev
            ;;
        python3) need "python3 python3-dev" ;;
        esac
        ;;
    test)
        case $PYO3_PYTHON in
        /usr/bin/*) "$PYO3_PYTHON" -c 'import venv, ensurepip' 2>/dev/null || need python3-venv ;;
        python3) need python3-venv ;;
        esac
        have curl || need curl
        have openssl || need openssl
        have h2load || need nghttp2-client
        have promtool || need prometheus
        have valgrind || need valgrind
        have postgres || file /usr/lib/postgresql/*/bin/postgres || need postgresql
        ;;
    bench)
        have wrk || need wrk
        have h2load || need nghttp2-client
        header ev.h || need libev-dev
        # The server and what modules are compiled with, without the service.
        have apxs || need "apache2-bin apache2-dev"
        ;;
    python)
        have cc || need gcc
        header stdio.h || need libc6-dev
        have make || need make
        have autoconf || need autoconf
        have dpkg-source || need dpkg-dev
        header zlib.h || need zlib1g-dev
        header bzlib.h || need libbz2-dev
        header lzma.h || need liblzma-dev
        header openssl/ssl.h || need libssl-dev
        header ffi.h || need libffi-dev
        header expat.h || need libexpat1-dev
        header sqlite3.h || need libsqlite3-dev
        header readline/readline.h || need libreadline-dev
        header ncurses.h || need libncurses-dev
        header uuid/uuid.h || need uuid-dev
        header db.h || need libdb-dev
        ;;
    conformance) header ev.h || need libev-dev ;;
    valgrind) have valgrind || need valgrind ;;
    esac
done

if [ -z "$missing" ]; then
    exit 0
fi
missing=${missing# }
have apt-get || die "these are missing, by their names in Debian: $missing; install what your system calls them."

# nginx-dev in the version of the nginx that is there, which may be serving somebody: it is never
# upgraded from here.
packages=
for package in $missing; do
    if [ "$package" = nginx-dev ] && [ -x "$WSGI_NGINX" ]; then
        owner=$(dpkg-query -S "$WSGI_NGINX" 2>/dev/null | cut -d: -f1 | head -n 1)
        [ -z "$owner" ] || package=nginx-dev=$(dpkg-query -W -f '${Version}' "$owner")
    fi
    packages="$packages $package"
done
packages=${packages# }

root=
if [ "$(id -u)" != 0 ]; then
    have sudo || die "these packages are missing: run \"apt-get install --no-install-recommends $packages\" as root."
    root=sudo
fi

# Debian starts a service as soon as it is installed. These shall wait for their owner; of prometheus
# the tests need a tool only.
policy=/usr/sbin/policy-rc.d
made=
forget() { [ -z "$made" ] || $root rm -f "$policy"; }
trap forget EXIT
trap 'exit 130' INT TERM
case " $packages " in
*" nginx "* | *" postgresql "* | *" prometheus "*)
    if [ ! -e "$policy" ]; then
        made=yes
        printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
        $root chmod 755 "$policy"
    fi
    ;;
esac

mkdir -p "$ROOT/build"
log=$ROOT/build/apt.log
say "installing by apt: $packages"
$root apt-get update -q >"$log" 2>&1 || say "apt-get update failed; trying with the lists that are there"
# shellcheck disable=SC2086 # meant to be split
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages >>"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "apt could not install these packages: $packages; $(short "$log") tells why."
}
for service in nginx postgresql prometheus; do
    case "$made $packages " in
    yes*" $service "*)
        say "$service is installed but not started; \"systemctl disable $service\" keeps it off after a reboot too"
        ;;
    esac
done
