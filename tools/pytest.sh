#!/bin/sh
# pytest.sh ARGUMENT...: the tests against the nginx and the module in use. The results are also
# written to build/results, for the summary.
set -eu
. "$ROOT/tools/common.sh"

cd "$ROOT"
mkdir -p build/results
say "running the tests with $(short "$WSGI_NGINX") ($(binary_version "$WSGI_NGINX")) and $("$WSGI_PYTHON" --version)"
PYTHONDONTWRITEBYTECODE=1 exec build/venv/bin/python -m pytest --junitxml="build/results/$KIND.xml" "$@" tests
