#!/bin/sh
# libpython.sh: a Python at $PYTHON_PREFIX whose shared library is as fast as Debian's executable. Built from
# Debian's own source package, its patches included, with profile-guided and link-time optimisation. Built again
# when the mirror has a newer one. If PYTHON is optimised already, it is taken as it is.
set -eu
. "$ROOT/tools/common.sh"

prefix=$PYTHON_PREFIX
work=$ROOT/build/python-source
log=$work/log
built=$prefix/built-from

# One that is there. What sysconfig says is about the shared library, on Debian too, where the executable is
# another build.
if there=$("$PYO3_PYTHON" -c 'import os, sys, sysconfig
var = sysconfig.get_config_var
print(os.path.realpath(sys.base_prefix))
sys.exit(not (var("Py_ENABLE_SHARED") and "--enable-optimizations" in (var("CONFIG_ARGS") or "")))'); then
    say "the shared library of $PYO3_PYTHON is optimised: make PYTHON=$PYO3_PYTHON"
    mkdir -p "$(dirname "$prefix")"
    [ -e "$prefix" ] && [ ! -L "$prefix" ] || ln -sfn "$there" "$prefix"
    exit 0
fi
owner=$(dpkg-query -S "$(readlink -f "$PYO3_PYTHON")" 2>/dev/null | cut -d: -f1 | head -n 1) || owner=
[ -n "$owner" ] ||
    die "$PYO3_PYTHON is not Debian's, so there is no source package of it: docs/python.md says how others are built."
package=$(dpkg-query -W -f '${source:Package}' "$owner")
version=$("$PYO3_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
jobs=$(getconf _NPROCESSORS_ONLN)

# Runs the rest of the line, its output into the log; shows the end of it only if it fails.
quietly() {
    "$@" >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "$(short "$log") tells why."
    }
}

# apt with lists of its own, so that nothing of the system's is touched: the repositories of the
# distribution that the system has packages from, for sources.
apt() {
    tool=$1
    shift
    "$tool" -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
        -o APT::Sandbox::User="$(id -un)" -q "$@"
}

prepare_apt() {
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    distribution=$(. /etc/os-release && echo "$ID")
    keys=/usr/share/keyrings/$distribution-archive-keyring.gpg
    options=
    [ ! -f "$keys" ] || options="[signed-by=$keys]"
    # shellcheck disable=SC2016 # apt's variables
    apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' |
        awk -F '|' -v id="$distribution" -v options="$options" \
            '$1 == "Packages" && tolower($2) == id {print "deb-src", options, $3, $4, $5}' >"$work/apt/sources.list"
    [ -s "$work/apt/sources.list" ] ||
        die "apt knows no repository of $distribution: run apt-get update, or see docs/python.md for other ways."
    apt apt-get update >>"$log" 2>&1 || say "apt-get update failed; trying with the lists that are there"
}

# Prints the newest version that the mirror really has, after it was downloaded and apt has found it unchanged.
download() {
    for candidate in $(apt apt-cache showsrc --only-source "$package" | sed -n 's/^Version: //p' | sort -urV); do
        if (cd "$work" && apt apt-get source --download-only "$package=$candidate") >>"$log" 2>&1; then
            printf '%s' "$candidate"
            return
        fi
        say "the mirror does not have $package $candidate" >&2
    done
}

# Modules that are built into Debian's libpython are built into this one, so that it also runs with Debian's
# standard library and with virtual environments of Debian's Python.
choose_builtin_modules() {
    names=$("$PYO3_PYTHON" -c 'import sys; print("|".join(sys.builtin_module_names))')
    grep -E "^#($names) " Modules/Setup | sed 's/^#//' >Modules/Setup.local
}

# The flags are those of the executable in debian/rules, as far as they matter for speed.
configure() {
    # Debian's patch repeats the training, and would have it fail with the first of the tests that are run for it.
    patch=debian/patches/profiled-build.diff
    [ ! -f "$patch" ] || quietly patch -R -p1 -i "$patch"
    # The patches change configure.ac.
    quietly autoconf
    quietly ./configure --prefix="$prefix" --enable-shared --enable-optimizations --with-lto \
        --enable-loadable-sqlite-extensions --with-system-expat --with-system-ffi --with-dbmliborder=bdb \
        --with-ssl-default-suites=openssl --without-ensurepip --disable-test-modules \
        OPT="-DNDEBUG -fwrapv -O3 -Wall" \
        CFLAGS="-fstack-protector -Wformat -Werror=format-security -fno-semantic-interposition" \
        CPPFLAGS="-D_FORTIFY_SOURCE=2" LDFLAGS="-Wl,-z,relro -Wl,-rpath,$prefix/lib"
    # Link-time optimisation in parts, as in debian/rules, on all cores and without debugging information: in one
    # piece it takes minutes more, several times. None at all for a tool of the build.
    sed -i '/^CONFIGURE_.*_NODIST=/{s/-flto /-flto=auto /;s/ -flto-partition=none//;s/ -g\( \|$\)/\1/}' Makefile
    echo 'Programs/_freeze_module: override LDFLAGS_NODIST += -fno-lto' >>Makefile
}

check() {
    libraries=$(ldd "$prefix/bin/python3") || true
    case $libraries in
    *"$prefix/lib/libpython$version"*) ;;
    *) die "$(short "$prefix")/bin/python3 does not use its own library: $libraries" ;;
    esac
    builtin=$("$PYO3_PYTHON" -c 'import sys; print(*sys.builtin_module_names)')
    # shellcheck disable=SC2086 # meant to be split
    quietly "$prefix/bin/python3" -c '
import sys
import bz2, ctypes, dbm.ndbm, hashlib, lzma, readline, sqlite3, ssl, uuid, venv, zlib
missing = set(sys.argv[1:]) - set(sys.builtin_module_names)
sys.exit(f"these modules are not built in: {missing}" if missing else 0)' $builtin
}

case $prefix in
/*) ;;
*) die "PYTHON_PREFIX is \"$prefix\": set it to a path that begins with /." ;;
esac
# It is replaced as a whole.
[ ! -e "$prefix" ] || [ -f "$built" ] || [ -L "$prefix" ] ||
    die "$prefix is there, but not made by make python: set PYTHON_PREFIX to a folder of its own."
"$ROOT/tools/deps.sh" python
mkdir -p "$work"
: >"$log"
prepare_apt
found=$(download)
[ -n "$found" ] || die "the source package $package could not be downloaded: $(short "$log") tells why."
if [ "$(cat "$built" 2>/dev/null)" = "$package $found" ]; then
    say "$(short "$prefix") is up to date, from $package $found"
    exit 0
fi

cd "$work"
rm -rf tree
quietly dpkg-source --extract "${package}_${found#*:}.dsc" tree
cd tree
say "building $package $found for $(short "$prefix"), which takes ten to twenty minutes"
# Variables given to our make are not meant for Python's.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS
choose_builtin_modules
configure
# The training is CPython's own selection of its tests. (Debian's is nearly all of them, which takes far longer.)
quietly make -j "$jobs" PROFILE_TASK="-m test --pgo --timeout=1200 -j$jobs"
# It takes the place of the old one at once, since a running nginx may be importing from that.
rm -rf "$work/stage"
quietly make install DESTDIR="$work/stage"
echo "not checked" >"$work/stage$built"
mkdir -p "$(dirname "$prefix")"
rm -rf "$prefix"
mv "$work/stage$prefix" "$prefix"
check
printf '%s\n' "$package $found" >"$built"
cd "$work"
rm -rf tree stage
say "$(short "$prefix") is ready: make PYTHON=$(short "$prefix")/bin/python3"
