"""The settings of a run, from the environment."""

import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parent
OUT = ROOT / "build" / "bench"


class Failed(Exception):
    """The measurement cannot go on; the text says why."""


def setting(*names, default=None):
    """The first of these environment variables that is set."""
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    return default


def number(name, default, low, high):
    try:
        value = float(setting(name, default=default))
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Failed(f"{name} must be a number from {low} to {high}")
    return value


def server_files():
    """(the nginx binary, the module)"""
    nginx = setting("WSGI_NGINX", "NGINX", default="/usr/sbin/nginx")
    module = setting("WSGI_MODULE", "MODULE", default=str(ROOT / "build" / "debian" / "ngx_http_wsgi_module.so"))
    module = str(pathlib.Path(module).resolve())
    if not os.access(nginx, os.X_OK):
        raise Failed(f"there is no nginx at {nginx}")
    if not os.path.exists(module):
        raise Failed(f"there is no module at {module}: run make first")
    return nginx, module
