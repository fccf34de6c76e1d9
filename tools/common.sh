# Read by the other scripts of this folder. Each is called by the Makefile, which sets:
#   ROOT          the project's folder
#   KIND          debian, vendored or custom: the nginx to build for
#   OUT           build/$KIND
#   WSGI_PROFILE       what pgo.sh has counted, if it has
#   PYO3_PYTHON   the interpreter to build for
#   NGINX_SOURCE_DIR, NGINX_BUILD_DIR, CARGO_TARGET_DIR, WSGI_NGINX, WSGI_MODULE

# What is being done.
say() { printf '== %s\n' "$*"; }

# One sentence: what is wrong and what to do about it.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The path as seen from the project's folder, which is shorter to read.
short() { printf '%s' "${1#"$ROOT"/}"; }

# "1.22.1" of the headers in a source folder of nginx.
header_version() {
    sed -n 's/^#define NGINX_VERSION  *"\(.*\)"/\1/p' "$1/src/core/nginx.h"
}

# "1.22.1" of an nginx binary.
binary_version() {
    "$1" -v 2>&1 | sed -n 's|^nginx version: nginx/\([0-9.]*\).*|\1|p'
}
