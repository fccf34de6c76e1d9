#!/bin/sh
# nginx with all the examples in the foreground. Everything written goes to build/serve; /etc/nginx
# and a running nginx are left alone. Ctrl-C ends it.
set -eu
. "$ROOT/tools/common.sh"

run=$ROOT/build/serve
template=$ROOT/examples/nginx.conf
[ -f "$template" ] || die "examples/nginx.conf is not there."
port=
"$PYO3_PYTHON" - "$PORT" <<'END' || port=taken
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    s.bind(("127.0.0.1", int(sys.argv[1])))
except (OSError, ValueError, OverflowError):
    sys.exit(1)
END
[ -z "$port" ] || die "port $PORT of 127.0.0.1 cannot be used: choose another one, as in make serve PORT=8081."

say "preparing the examples in $(short "$run")"
RUN=$run PYTHON=$ROOT/build/venv/bin/python sh "$ROOT/examples/setup.sh"
sed -e "s|@PORT@|$PORT|g" -e "s|@MODULE@|$WSGI_MODULE|g" -e "s|@ROOT@|$ROOT|g" -e "s|@RUN@|$run|g" \
    -e "s|@PYTHON@|$ROOT/build/venv/bin/python|g" "$template" >"$run/nginx.conf"

say "serving the examples on http://127.0.0.1:$PORT/ (Ctrl-C ends it)"
cd "$ROOT"
exec "$WSGI_NGINX" -p "$ROOT" -e stderr -c "$run/nginx.conf"
