#!/bin/sh
# install.sh install|uninstall: the module into the folder where nginx looks for modules.
set -eu
. "$ROOT/tools/common.sh"

[ -x "$WSGI_NGINX" ] || die "there is no nginx at $WSGI_NGINX: install nginx first."

# --modules-path, or the folder that nginx falls back to.
value() { "$WSGI_NGINX" -V 2>&1 | tr ' ' '\n' | sed -n "s/^--$1=//p" | tail -n 1; }
modules=$(value modules-path)
if [ -z "$modules" ]; then
    prefix=$(value prefix)
    modules=${prefix:-/usr/local/nginx}/modules
fi
name=$(basename "$WSGI_MODULE")
target=${DESTDIR:-}$modules/$name

case $1 in
install)
    [ -f "$WSGI_MODULE" ] || die "$(short "$WSGI_MODULE") is not there: run make first."
    # A new file takes the old one's place: a running nginx keeps the one that it has mapped.
    mkdir -p "$(dirname "$target")" && cp "$WSGI_MODULE" "$target.new" && chmod 644 "$target.new" &&
        mv "$target.new" "$target" || die "$target cannot be written: run make install as root, or set DESTDIR."
    say "installed $target"
    echo "Put this line at the top of nginx.conf, then restart nginx (a reload keeps an older module):"
    echo "    load_module $modules/$name;"
    ;;
uninstall)
    if [ -e "$target" ]; then
        rm -f "$target" || die "$target cannot be removed: run make uninstall as root."
        say "removed $target"
        echo "Take its load_module line out of nginx.conf before nginx starts the next time."
    else
        say "$target is not there"
    fi
    ;;
esac
