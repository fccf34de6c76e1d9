"""What is asked of all servers, and of which of them."""

import dataclasses
import functools
import json
import zlib

import peers
from apps import plain

from .load import load_by_h2load, load_by_wrk, upload
from .settings import OUT

MIB = 1 << 20
# What a browser sends: twenty headers, Host among them.
BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"), ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://www.example.org/shop/books?page=2"), ("DNT", "1"), ("Sec-GPC", "1"),
    ("Cookie", "sessionid=4f6g7h8j9k0l1m2n3b4v5c6x7z8; csrftoken=aB3dE6fG9hJ2kL5mN8pQ; theme=dark; consent=all"),
    ("Upgrade-Insecure-Requests", "1"), ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-User", "?1"), ("Priority", "u=0, i"), ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"), ("X-Requested-With", "XMLHttpRequest"), ("X-Forwarded-For", "203.0.113.7"),
    ("X-Request-Id", "7d1f6c9e-2b1a-4a57-9a0c-0d3f5e8b6a41"))

OURS = ("module", "return-200")
PEERS = tuple(peer.name for peer in peers.PEERS)
BEHIND_NGINX = ("uwsgi", "gunicorn-gthread", "granian-nginx")
# Where the library with Python in it tells: one row for each of the two.
PYTHON = (*OURS, "module-fast", *PEERS)
# Two workers are a table of their own, of the servers that are used most and of those that need least.
TWO = ("module", "module-threads8", "uwsgi", "gunicorn-gthread", "granian", "bjoern", "fastpysgi")


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    what: str                       # one line
    app: str = "plain:hello"
    path: str = "/"
    answer: bytes = plain.HELLO     # every server's, return-200 apart
    headers: tuple = ()
    post: int = 0                   # bytes of a body
    connections: int = 0            # 0: as many as the setting says
    contenders: tuple = (*OURS, *PEERS)
    threads: int = 0                # 0: what is usual for each server
    tls: bool = False
    unbuffered: bool = False
    file: bytes = b""               # what `static-file` answers with and BENCH_FILE names
    database: bool = False
    workers: int = 0                # 0: as the setting says
    packages: tuple = ()            # what the application needs
    by: str = "wrk"
    reference: str = "return-200"

    def body(self):
        return bytes([ord("x")]) * self.post if self.post else None

    def load(self, url, connections, seconds):
        """One stretch of it: what the generator tells."""
        connections = self.connections or connections
        if self.by == "h2load":
            return load_by_h2load(url, connections, seconds, streams=8)
        if self.by == "upload":
            return upload(url, self.post, seconds)
        return load_by_wrk(url, connections, seconds, arguments=(self.post,) if self.post else (),
                           headers=self.headers)

    def static(self):
        """The file, made once."""
        if not self.file:
            return None
        path = OUT / "files" / str(len(self.file))
        if not path.exists() or path.stat().st_size != len(self.file):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.file)
        return path


def posted(length):
    """What plain.post answers with ?crc."""
    return f"{length} {zlib.crc32(b'x' * length)}".encode()


POST = functools.partial(Workload, app="plain:post")
SLEEP = functools.partial(
    Workload, app="plain:sleep", threads=64,
    contenders=("module-threads64", "return-200", *PEERS))

WORKLOADS = {workload.name: workload for workload in (
    Workload("hello", "13 bytes", file=plain.HELLO, contenders=(
        "module", "return-200", "static-file", "module-threads1", "module-threads8", "module-fast", *PEERS)),
    Workload("hello20", "13 bytes for a request with 20 headers of a browser", headers=BROWSER,
             contenders=PYTHON),
    Workload("json", "json.dumps of a small dictionary", app="plain:json_",
             answer=json.dumps({"message": "Hello, World!"}).encode(), contenders=PYTHON),
    Workload("body64k", "64 KiB, one bytes object", app="plain:body64k", answer=plain.BODY64K, file=plain.BODY64K,
             contenders=("static-file", *PYTHON)),
    Workload("body1m", "1 MiB, one bytes object", app="plain:body1m", answer=plain.BODY1M, file=plain.BODY1M,
             contenders=("static-file", *PYTHON)),
    Workload("stream", "100 blocks of 8 KiB from a generator, each flushed", app="plain:stream",
             answer=plain.BLOCK * plain.BLOCKS, unbuffered=True),
    POST("post1k", "POST of 1 KiB, which the application reads", post=1024, answer=posted(1024)),
    POST("post1m", "POST of 1 MiB, which the application reads", post=MIB, answer=posted(MIB)),
    Workload("file10m", "10 MiB through wsgi.file_wrapper", app="plain:file10m", answer=plain.BODY1M * 10,
             file=plain.BODY1M * 10, connections=4, contenders=(*OURS, "static-file", *PEERS)),
    SLEEP("sleep64", "10 ms of sleep, 64 connections and 64 threads", connections=64,
          contenders=("module-threads64", "return-200", "no-server", *PEERS)),
    SLEEP("sleep512", "10 ms of sleep, 512 connections and 64 threads", connections=512),
    Workload("cpu1ms", "about a millisecond of pure Python", app="plain:cpu1ms", answer=plain.cpu(),
             contenders=PYTHON),
    Workload("django", "13 bytes by Django", app="django_app:application", contenders=PYTHON, packages=("Django",)),
    Workload("flask", "13 bytes by Flask", app="flask_app:application", contenders=PYTHON, packages=("Flask",)),
    Workload("djangodb", "a Django view with one query of PostgreSQL", app="django_app:application", path="/item",
             answer=b'{"name": "item 7"}', contenders=PYTHON, database=True, packages=("Django", "psycopg")),
    POST("upload64m", "POST of 64 MiB, which the application reads", post=64 * MIB, answer=posted(64 * MIB),
         by="upload"),
    Workload("tls", "13 bytes over TLS, connections stay", tls=True, contenders=(*OURS, *BEHIND_NGINX)),
    Workload("http2", "13 bytes over HTTP/2 and TLS, 8 requests at a time on each connection", tls=True, by="h2load",
             contenders=(*OURS, *BEHIND_NGINX)),
    Workload("hello-2workers", "13 bytes, two workers", workers=2, contenders=("return-200", *TWO)),
    Workload("django-2workers", "13 bytes by Django, two workers", app="django_app:application", workers=2,
             contenders=("module-fast", *TWO), packages=("Django",)),
)}
