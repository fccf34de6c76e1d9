#!/bin/sh
# Prepares what the examples need before nginx starts; `make serve` runs it, and it may run again at any time.
#
#   RUN     the folder for everything generated: database, passwords, collected static files (default build/serve)
#   PYTHON  an interpreter inside a virtual environment; what is missing there is installed (default
#           build/venv/bin/python)
#
# Both are relative to the root of the project unless they are absolute. What is done already is skipped.
set -eu

cd "$(dirname "$0")/.."
RUN=${RUN:-build/serve}
PYTHON=${PYTHON:-build/venv/bin/python}

mkdir -p "$RUN"
RUN=$(cd "$RUN" && pwd)

"$PYTHON" -c '' || {
    echo "examples: \"$PYTHON\" does not run: set PYTHON to the python of a virtual environment." >&2
    exit 1
}
if ! "$PYTHON" -c 'import django, flask, psycopg_pool, twisted' 2>/dev/null; then
    echo "examples: installing Flask, Django, psycopg and Twisted into $("$PYTHON" -c 'import sys; print(sys.prefix)')"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r examples/requirements.txt
fi

EXAMPLES_RUN="$RUN" "$PYTHON" examples/django/setup.py

# nginx started by root gives its workers to "nobody", who may neither read a checkout in somebody's home nor
# write the database. The owner of the checkout may do both.
: >"$RUN/user.conf"
if [ "$(id -u)" = 0 ]; then
    user=$(stat -c %U .) group=$(stat -c %G .)
    if [ "$user" = UNKNOWN ] || [ "$group" = UNKNOWN ]; then
        user=root group=root
    fi
    echo "user $user $group;" >"$RUN/user.conf"
    chown -R "$user:$group" "$RUN"
fi
