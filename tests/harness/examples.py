"""All examples in one nginx, set up as `make serve` does it, and a browser that visits them."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.parse

from .nginx import MODULE, ROOT, Nginx
from .venv import frameworks

EXAMPLES = ROOT / "examples"

STATUS = """
    server {
        listen "unix:@RUN@/status.sock";
        access_log off;
        location = /status { stub_status; }
    }
    server {
        listen 127.0.0.1:"""


@contextlib.contextmanager
def running():
    """The server; its folder is what the examples call @RUN@."""
    run = pathlib.Path(tempfile.mkdtemp(prefix="wsgi-"))
    run.chmod(0o755)
    python = frameworks()
    subprocess.run(["sh", str(EXAMPLES / "setup.sh")], check=True, capture_output=True,
                   env={**os.environ, "RUN": str(run), "PYTHON": python})
    server = Nginx(run, prefix=ROOT)
    text = (EXAMPLES / "nginx.conf").read_text()
    text = re.sub(r"error_log .*", f"error_log {run}/error.log info;", text, count=1)
    text = text.replace("\n    server {\n        listen 127.0.0.1:", STATUS, 1)
    assert "status.sock" in text, "the harness found no place for its status page"
    for word, value in {"PORT": server.port, "MODULE": MODULE, "ROOT": ROOT, "RUN": run, "PYTHON": python}.items():
        text = text.replace(f"@{word}@", str(value))
    server.whole_text = text
    server.workers_wanted = 2
    # Files that applications keep open, such as a database, are theirs.
    server.check_fds = False
    server.start()
    yield server
    try:
        server.stop()
    finally:
        server.kill()
    shutil.rmtree(run, ignore_errors=True)


class Browser:
    """Follows redirects and keeps cookies."""

    def __init__(self, server):
        self.server = server
        self.cookies = {}
        self.host = f"127.0.0.1:{server.port}"

    def request(self, method, target, fields=None, headers=()):
        body = urllib.parse.urlencode(fields).encode() if fields is not None else None
        headers = [("Host", self.host), *headers]
        if self.cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        if body is not None:
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        answer = self.server.request(method, target, headers, body)
        for cookie in answer.all("Set-Cookie"):
            name, _, value = cookie.split(";")[0].partition("=")
            self.cookies[name] = value
        if answer.status in (301, 302, 303):
            where = urllib.parse.urlsplit(urllib.parse.urljoin(f"http://{self.host}{target}",
                                                               answer.header("Location")))
            assert where.netloc == self.host, answer.header("Location")
            return self.request("GET", where.path + (f"?{where.query}" if where.query else ""))
        return answer

    def form(self, target, fields):
        """Fills the form of a Django page."""
        page = self.request("GET", target)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text).group(1)
        return self.request("POST", target, {"csrfmiddlewaretoken": token, **fields})
