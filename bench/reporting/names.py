"""What contenders are called in tables and pictures."""

OURS = "module"
REFERENCE = "return-200"
# Around the application alone, no rival.
NO_SERVER = "no-server"

TITLES = {
    "module": "nginx mod_wsgi",
    "module-threads1": "nginx mod_wsgi, 1 thread",
    "module-threads8": "nginx mod_wsgi, 8 threads",
    "module-threads64": "nginx mod_wsgi, 64 threads",
    "module-fast": "nginx mod_wsgi, fast libpython",
    "module-buffered": "nginx mod_wsgi, buffered",
    "return-200": "nginx itself, return 200",
    "static-file": "nginx itself, static file",
    "no-server": "no server, a thread each",
    "uwsgi": "nginx + uWSGI",
    "gunicorn-sync": "nginx + gunicorn sync",
    "gunicorn-gthread": "nginx + gunicorn gthread",
    "granian-nginx": "nginx + granian",
    "granian": "granian",
    "bjoern": "bjoern",
    "fastpysgi": "FastPySGI",
    "waitress": "waitress",
    "modwsgi": "Apache mod_wsgi",
    "uvicorn": "uvicorn",
    "python3": "`python3` by itself",
    "python3-fast": "`python3` of `make python` by itself",
}


def title(contender):
    return TITLES.get(contender, contender)


def is_ours(contender):
    return contender.startswith("module")


def is_nginx(contender):
    return contender in (REFERENCE, "static-file")


def is_peer(contender):
    return not is_ours(contender) and not is_nginx(contender) and contender != NO_SERVER
