"""Servers behind an nginx: the same binary as ours, with as many workers, on the same core; a UNIX socket between."""

import pathlib

from speed.environment import BENCH
from speed.server import Nginx, nginx_version

from .contender import APPS, Contender

HTTP = """\
upstream back {{
        server "unix:{socket}";
        keepalive 64;
    }}
"""
PROXY = """\
        location / {
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            @BUFFERING@
        }
"""
# /etc/nginx/uwsgi_params, which not every nginx comes with. uWSGI closes the connection after each answer.
UWSGI = """\
        location / {
            uwsgi_pass back;
            uwsgi_param QUERY_STRING $query_string;
            uwsgi_param REQUEST_METHOD $request_method;
            uwsgi_param CONTENT_TYPE $content_type;
            uwsgi_param CONTENT_LENGTH $content_length;
            uwsgi_param REQUEST_URI $request_uri;
            uwsgi_param PATH_INFO $document_uri;
            uwsgi_param DOCUMENT_ROOT $document_root;
            uwsgi_param SERVER_PROTOCOL $server_protocol;
            uwsgi_param REQUEST_SCHEME $scheme;
            uwsgi_param HTTPS $https if_not_empty;
            uwsgi_param REMOTE_ADDR $remote_addr;
            uwsgi_param REMOTE_PORT $remote_port;
            uwsgi_param SERVER_PORT $server_port;
            uwsgi_param SERVER_NAME $server_name;
            @BUFFERING@
        }
"""


def longest_queue(wanted):
    """Of connections that wait to be accepted; the kernel allows no more than this."""
    return min(wanted, int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text()))


class BehindNginx(Contender):
    location, kind = PROXY, "proxy"

    def __init__(self, place, setup):
        super().__init__(place, setup)
        self.socket = self.folder / "socket"
        buffering = f"{self.kind}_buffering off;" if setup.unbuffered else ""
        self.front = Nginx(place.nginx, None, place.server_cores,
                           self.location.replace("@BUFFERING@", buffering) + setup.locations,
                           http=HTTP.format(socket=self.socket), connections=setup.connections,
                           workers=setup.workers, tls=setup.tls, name=f"{self.name}/nginx")
        self.port, self.scheme = self.front.port, self.front.scheme
        self.back = self.child(*self.command())
        self.processes = [self.back, *self.front.processes]

    def command(self):
        raise NotImplementedError

    def launch(self):
        self.processes = [self.back]
        super().launch()
        self.front.launch()
        self.processes = [self.back, *self.front.processes]

    def log_text(self):
        return self.back.log_text() + self.front.log_text()

    def version(self):
        return f"nginx {nginx_version(self.place.nginx)} and {super().version()}"

    def number(self, usual):
        """Threads of each worker."""
        return str(self.setup.threads or usual)


class Uwsgi(BehindNginx):
    name = "uwsgi"
    what = "uWSGI behind nginx, uwsgi_pass, master and worker"
    packages = ("uWSGI",)
    location, kind = UWSGI, "uwsgi"

    def command(self):
        # Its command is a program, not a module of Python.
        run = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
        threads = ["--enable-threads", "--threads", str(self.setup.threads)] if self.setup.threads else []
        return ["-c", run, BENCH.folder / "bin" / "uwsgi", "--socket", self.socket, "--module", self.setup.app,
                "--virtualenv", BENCH.folder, "--pythonpath", APPS, "--master", "--processes", self.setup.workers,
                "--need-app", "--die-on-term", "--single-interpreter", "--disable-logging",
                "--buffer-size", "16384", "--listen", longest_queue(1024), *threads]


class Gunicorn(BehindNginx):
    packages = ("gunicorn", "gunicorn_h1c")
    kind_of_worker = ()

    def command(self):
        return ["-m", "gunicorn", "--bind", f"unix:{self.socket}", "--workers", self.setup.workers,
                *self.kind_of_worker, "--worker-tmp-dir", "/dev/shm", "--graceful-timeout", "1",
                "--no-control-socket", self.setup.app]


class GunicornSync(Gunicorn):
    name = "gunicorn-sync"
    what = "gunicorn behind nginx, sync worker"
    threaded = False
    kind_of_worker = ("--worker-class", "sync")


class GunicornGthread(Gunicorn):
    name = "gunicorn-gthread"
    what = "gunicorn behind nginx, gthread worker with 4 threads, keep-alive"

    @property
    def kind_of_worker(self):
        return "--worker-class", "gthread", "--threads", self.number(4), "--keep-alive", "75"


class GranianNginx(BehindNginx):
    name = "granian-nginx"
    what = "granian behind nginx, keep-alive"
    packages = ("granian",)

    def command(self):
        return ["-m", "granian", "--uds", self.socket, *granian_options(self.setup)]


def granian_options(setup):
    # One thread that calls applications, as in its authors' benchmarks; by default it would be as many as requests.
    return ["--interface", "wsgi", "--workers", setup.workers, "--blocking-threads", setup.threads or 1, "--no-ws",
            "--http", "1", "--log-level", "warning", setup.app]
