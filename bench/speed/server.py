"""nginx as a server that is measured: one worker or several, with the module or without, alone or in front of another.

It has cores of its own where there are enough. It lives inside `with`, in a folder below build/bench/run.
"""

import os
import re
import resource
import shutil
import socket
import subprocess

from .load import fetch
from .process import Process, Watched
from .settings import HERE, OUT, Failed

# What Debian's nginx.conf has, and no access log. Bodies are buffered as nginx does it unless told otherwise.
CONF = """\
{load}
{user}
daemon off;
worker_processes {workers};
{main}
pid "{run}/nginx.pid";
error_log "{run}/error.log" notice;

events {{
    worker_connections {connections};
}}

http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_max_body_size 128m;
    client_body_temp_path "{run}/temp_client_body";
    proxy_temp_path "{run}/temp_proxy";
    fastcgi_temp_path "{run}/temp_fastcgi";
    uwsgi_temp_path "{run}/temp_uwsgi";
    scgi_temp_path "{run}/temp_scgi";
    default_type text/plain;
    {http}

    server {{
        {listen}
{locations}
    }}
}}
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def certificate():
    """A self-signed certificate for 127.0.0.1, made once: (certificate file, key file)."""
    folder = OUT / "tls"
    cert, key = folder / "localhost.crt", folder / "localhost.key"
    if not (cert.exists() and key.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "3650", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
             str(key), "-out", str(cert)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"openssl: {done.stderr}")
    return cert, key


def nginx_version(nginx):
    """"1.22.1" of this binary."""
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr
    found = re.search(r"nginx/(\S+)", said)
    if not found:
        raise Failed(f"{nginx} -v says {said!r}")
    return found.group(1)


class Nginx(Watched):
    """`locations` is configuration for the server, in which @HERE@ is bench/ and @RUN@ the folder of this nginx;
    `module` may be None. `connections` are worker_connections, for more than 1024 also three descriptors for each;
    `http` is more configuration. With `tls` it speaks TLS only, HTTP/1.1 and HTTP/2."""

    def __init__(self, nginx, module, cores, locations, *, http="", connections=1024, workers=1, tls=False,
                 name="nginx"):
        super().__init__(name, free_port())
        self.nginx, self.module, self.locations, self.http = nginx, module, locations, http
        self.connections, self.workers, self.tls = connections, workers, tls
        self.scheme = "https" if tls else "http"
        self.run = OUT / "run" / name
        self.log = self.run / "error.log"
        # nginx takes a variable NGINX for a list of sockets that it inherits.
        env = {key: value for key, value in os.environ.items() if key != "NGINX"}
        self.processes = [Process([nginx, "-p", f"{self.run}/", "-c", self.run / "nginx.conf", "-e", self.log], cores,
                                  self.run / "stderr", env)]

    def launch(self):
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(parents=True)
        (self.run / "nginx.conf").write_text(self.conf())
        super().launch()

    def conf(self):
        http = self.http + (f'\n    wsgi_temp_path "{self.run}/temp_wsgi";' if self.module else "")
        locations = self.locations.replace("@HERE@", str(HERE)).replace("@RUN@", str(self.run))
        return CONF.format(
            load=f'load_module "{self.module}";' if self.module else "",
            user="user root;" if os.getuid() == 0 else "", run=self.run, listen=self.listen(), main=self.limit(),
            locations=locations, connections=self.connections, workers=self.workers, http=http)

    def listen(self):
        if not self.tls:
            return f"listen 127.0.0.1:{self.port} backlog=4096;"
        cert, key = certificate()
        # HTTP/2 is a directive of its own since 1.25.1.
        own = tuple(map(int, nginx_version(self.nginx).split("."))) >= (1, 25, 1)
        listen = (f"listen 127.0.0.1:{self.port} ssl backlog=4096; http2 on;" if own
                  else f"listen 127.0.0.1:{self.port} ssl http2 backlog=4096;")
        return f'{listen} ssl_certificate "{cert}"; ssl_certificate_key "{key}"; ssl_session_cache shared:bench:1m;'

    def limit(self):
        """Of descriptors; beyond what the machine allows nobody gets any."""
        most = min(3 * self.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        return f"worker_rlimit_nofile {most};" if self.connections > 1024 else ""

    def log_text(self):
        error_log = self.log.read_text(errors="backslashreplace") if self.log.exists() else ""
        return super().log_text() + error_log

    def version(self):
        found = re.search(r"wsgi: (nginx mod_wsgi .+)", self.log_text())
        return found.group(1) if found else f"nginx {nginx_version(self.nginx)}"


class Server(Nginx):
    """One nginx with the module, which answers all contenders; `first` is the path of an answer that has to be "Hello,
    World!" before anything is measured."""

    def __init__(self, nginx, module, cores, locations, first, connections=1024, http=""):
        super().__init__(nginx, module, cores, locations, http=http, connections=connections)
        self.first = first

    def wait(self):
        self.wait_until(lambda: fetch(self.port, self.first)[0] == 200)
        self.expect(self.first, b"Hello, World!")

    def expect(self, path, wanted):
        """What is compared has to be the same."""
        status, body = fetch(self.port, path)
        if (status, body) != (200, wanted):
            raise Failed(f"{path} answers {status} {body[:80]!r}:\n{self.log_text()}")
