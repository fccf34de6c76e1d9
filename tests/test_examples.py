"""The examples run from their own nginx.conf and answer as their READMEs say."""

import hashlib
import html
import os
import pathlib
import re
import shutil
import tempfile
import time

import pytest

from harness.examples import EXAMPLES, Browser
from harness.nginx import Nginx, cpu, wait_for
from harness.venv import frameworks

pytestmark = pytest.mark.once


def test_every_link_of_the_index_page(site):
    page = site.get("/")
    assert page.status == 200 and page.header("Content-Type") == "text/html"
    links = [html.unescape(link) for link in re.findall(r'href="(/[^"]*)"', page.text)]
    assert len(links) >= 18
    browser = Browser(site)
    for link in links:
        # PostgreSQL is started where its example is tested.
        if link not in ("/large_file", "/streaming") and not link.startswith("/asyncio_postgres"):
            assert browser.request("GET", link).status == 200, link


def test_every_folder_is_on_the_index_page():
    page = (EXAMPLES / "index.html").read_text()
    for folder in EXAMPLES.iterdir():
        if folder.is_dir() and (folder / "nginx.conf").exists():
            assert f"examples/{folder.name}" in page
            assert len((folder / "README.md").read_text().splitlines()) == 3, folder


def test_hello(site):
    answer = site.get("/hello")
    assert (answer.status, answer.text) == (200, "Hello, World!\n")
    assert answer.header("Content-Length") == "14"


def test_environ(site):
    page = html.unescape(site.get("/environ/some/path?a=1").text)
    for key, value in {"SCRIPT_NAME": "/environ", "PATH_INFO": "/some/path", "QUERY_STRING": "a=1",
                       "REQUEST_METHOD": "GET"}.items():
        assert re.search(rf"{key}.*'{re.escape(value)}'", page), key
    page = html.unescape(site.get("/sites/shop/cart", [("Authorization", "Basic bWU6c2VjcmV0")]).text)
    for key, value in {"SCRIPT_NAME": "/sites/shop", "PATH_INFO": "/cart",
                       "HTTP_AUTHORIZATION": "Basic bWU6c2VjcmV0"}.items():
        assert re.search(rf"{key}.*'{re.escape(value)}'", page), key


def test_flask(site):
    browser = Browser(site)
    assert "Flask in nginx" in browser.request("GET", "/flask/").text
    assert browser.request("GET", "/flask").status == 200, "nginx adds the slash"
    page = browser.request("POST", "/flask/", {"name": "Jürgen <b>"})
    assert page.status == 200 and "Hello, Jürgen &lt;b&gt;!" in page.text
    answer = site.post("/flask/api/sum", b"[1, 2, 3.5]", [("Content-Type", "application/json")])
    assert answer.json() == {"numbers": [1, 2, 3.5], "sum": 6.5}
    assert site.post("/flask/api/sum", b"{}", [("Content-Type", "application/json")]).status == 400
    assert site.get("/flask/nowhere").status == 404
    assert site.post("/flask/", b"x" * 2000000).status == 413


def test_flask_error_is_in_the_log(site):
    since = site.log_size()
    assert site.get("/flask/error").status == 500
    site.wait_for_log("about to fail on purpose", since=since)
    site.wait_for_log("ZeroDivisionError: division by zero", since=since)


def test_flask_many_requests_on_one_connection(site):
    with site.connect() as client:
        for number in range(50):
            assert f"Hello, n{number}" in client.request("GET", f"/flask/hello/n{number}").text


def test_django_guestbook(site):
    browser = Browser(site)
    text = f"Grüße aus dem Test {os.getpid()} {time.monotonic_ns()}"
    page = browser.form("/django/", {"name": "Æsop", "text": text})
    assert page.status == 200
    assert text in page.text and "Æsop" in page.text and "Thank you." in page.text
    assert site.post("/django/", b"name=a&text=b").status == 403, "without the CSRF token"


def test_django_admin(site):
    browser = Browser(site)
    password = (site.folder / "django/admin-password").read_text().strip()
    page = browser.form("/django/admin/login/?next=/django/admin/", {"username": "admin", "password": password})
    assert page.status == 200 and "Site administration" in page.text
    page = browser.request("GET", "/django/admin/guestbook/entry/")
    assert page.status == 200 and "Select entry to change" in page.text
    page = browser.form("/django/admin/guestbook/entry/add/", {
        "name": "from the admin", "text": "added", "visible": "on", "_save": "Save"})
    assert "was added successfully" in page.text
    assert "from the admin" in browser.request("GET", "/django/").text


def test_django_static_files_by_nginx(site):
    page = Browser(site).request("GET", "/django/admin/login/")
    sheets = re.findall(r'href="(/django/static/[^"]+\.css)"', page.text)
    assert sheets
    for sheet in sheets:
        answer = site.get(sheet)
        assert answer.status == 200 and answer.header("Content-Type") == "text/css"
        assert answer.header("Expires")
    assert site.get("/django/static/nothing.css").status == 404


def test_streaming_is_asked_row_by_row(site):
    client = site.connect()
    client.send_request("GET", "/streaming")
    head = client.read_head()
    assert head.status == 200
    first = client.read_chunk(head)
    assert first.endswith(b" s\n")
    # Several at a time, and the worker serves others meanwhile.
    others = [site.connect() for _ in range(3)]
    for other in others:
        other.send_request("GET", "/streaming")
        assert other.read_head().status == 200
    before = sum(cpu(pid) for pid in site.workers())
    assert site.get("/hello").status == 200
    assert client.read_chunk(head)
    assert sum(cpu(pid) for pid in site.workers()) - before < 1
    since = site.log_size()
    for other in [client, *others]:
        other.reset()
    site.wait_for_log("streaming: ended after", count=4, since=since)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("size", [0, 10, 5 << 20])
def test_upload(site, method, size):
    data = os.urandom(size)
    answer = site.request(method, "/upload", body=data)
    lines = answer.text.splitlines()
    assert lines[-1] == f"sha256 {hashlib.sha256(data).hexdigest()} of {size} bytes"
    if size > 1 << 20:
        assert lines[0] == f"received {1 << 20} of {size} bytes"
        assert len(lines) == 6
    assert site.get("/upload").header("Content-Type") == "text/html; charset=utf-8"
    assert site.request("DELETE", "/upload").status == 405


def test_upload_too_large_is_refused_by_nginx(site):
    with site.connect() as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000000\r\n\r\n")
        assert client.read_response().status == 413


def test_large_file(site):
    answer = site.get("/large_file")
    data = (site.folder / "large_file.bin").read_bytes()
    assert len(data) == 64 << 20 and answer.header("Content-Length") == str(len(data))
    assert answer.body == data
    assert site.request("HEAD", "/large_file").header("Content-Length") == str(len(data))


def test_downloads_need_the_cookie(site):
    browser = Browser(site)
    assert browser.request("GET", "/downloads/primes.txt").status == 403
    assert browser.request("POST", "/downloads/login", {}).status == 200
    answer = browser.request("GET", "/downloads/letter.txt")
    assert answer.body == (EXAMPLES / "downloads/files/letter.txt").read_bytes()
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    assert answer.header("Content-Disposition") == "attachment"
    assert answer.header("ETag") and not answer.all("X-Accel-Redirect") and not answer.all("X-Accel-Limit-Rate")
    part = browser.request("GET", "/downloads/letter.txt", headers=[("Range", "bytes=5-10")])
    assert (part.status, part.text) == (206, "reader")
    assert browser.request("GET", "/downloads/nothing.txt").status == 404
    assert browser.request("POST", "/downloads/logout", {}).status == 200
    assert browser.request("GET", "/downloads/letter.txt").status == 403


def test_downloads_by_no_other_way(site):
    assert site.get("/downloads-files/letter.txt").status == 404
    browser = Browser(site)
    browser.request("POST", "/downloads/login", {})
    for target in ("/downloads/..%2f..%2fapp.py", "/downloads/%2e%2e/app.py", "/downloads/files/letter.txt"):
        assert browser.request("GET", target).status in (400, 404), target
    browser.cookies["downloads"] = "0" * 64
    assert browser.request("GET", "/downloads/letter.txt").status == 403


def test_downloads_are_limited_in_rate(site):
    browser = Browser(site)
    browser.request("POST", "/downloads/login", {})
    started = time.monotonic()
    answer = browser.request("GET", "/downloads/primes.txt")
    assert answer.body == (EXAMPLES / "downloads/files/primes.txt").read_bytes()
    assert time.monotonic() - started > 1


def test_middleware(site):
    answer = site.get("/middleware")
    assert (answer.status, answer.text) == (200, "outer -> inner -> application\n")
    assert answer.all("X-Passed") == ["inner", "outer"]
    plain = site.get("/middleware/plain")
    assert (plain.status, plain.text) == (200, "application\n")
    assert not plain.all("X-Passed")


def test_interpreters(site):
    for _ in range(10):
        blog, shop = site.get("/interpreters/blog/"), site.get("/interpreters/shop/")
        assert (blog.status, shop.status) == (200, 200)
        assert "The blog" in blog.text and f"settings is {EXAMPLES}/interpreters/blog/settings.py" in blog.text
        assert "The shop" in shop.text and f"settings is {EXAMPLES}/interpreters/shop/settings.py" in shop.text


def test_reloading(site):
    """The file is only touched: what was loaded before has another age."""
    touched = time.monotonic()
    os.utime(EXAMPLES / "reloading/app.py")
    for _ in range(10):
        answer = site.get("/reloading")
        assert answer.status == 200 and answer.text.startswith("Hello! Edit me.\n")
        age = float(re.search(r"Loaded (\S+) s ago", answer.text)[1])
        assert age < time.monotonic() - touched + 0.01


def test_threads(site):
    """While threads sleep, the event loop of their worker tells what they do, and everything else goes on.

    Each worker has threads of its own, so who watches must be connected to the one that the others keep busy.
    """
    workers = {}
    while not any(len(clients) == 6 for clients in workers.values()):
        client = site.connect()
        workers.setdefault(threads_of(client)["worker"], []).append(client)
    watching, *clients = max(workers.values(), key=len)
    for client in clients:
        client.send_request("GET", "/threads/wait?seconds=1")
    wait_for(lambda: threads_of(watching)["busy"] == "4", "all four threads are busy")
    assert site.get("/hello").status == 200
    for client in clients:
        answer = client.read_response()
        assert answer.status == 200
        assert re.fullmatch(r"\S+ of worker \d+ has slept for 1\.\d{3} s\n", answer.text)
    assert threads_of(watching) | {"page": ""} == {"busy": "0", "known": "4", "worker": max(
        workers, key=lambda worker: len(workers[worker])), "page": ""}
    assert threads_of(watching)["page"].count("<td>idle</td>") == 4


def threads_of(client):
    """What the page tells the client about the threads of its worker."""
    client.send_request("GET", "/threads/")
    page = client.read_response().text
    found = re.search(r"<h1>(?P<busy>\d) of (?P<known>\d) threads busy</h1>.* of worker (?P<worker>\d+) ", page, re.S)
    return {**found.groupdict(), "page": page}


def test_status(site):
    site.get("/hello")
    assert "examples/hello/app.py" in site.get("/status").text
    found = site.get("/status?format=json").json()
    assert any(app["application"].endswith("examples/hello/app.py") for app in found["applications"])
    assert "wsgi_requests_total{" in site.get("/status?format=prometheus").text


VALIDATED = {
    "hello": ("", "import app", "app.application"),
    "environ": ("", "import app", "app.application"),
    "streaming": ("", "import app", "app.application"),
    "upload": ("", "import app", "app.application"),
    "large_file": ("", "import app", "app.application"),
    "downloads": ("", "import app", "app.application"),
    "middleware": ("", "import app", "app.application"),
    "reloading": ("", "import app", "app.application"),
    "threads": ("", "import app", "app.application"),
    "sleep": ("", "import app", "app.application"),
    "chat": ("", "import app", "app.application"),
    "events": ("", "import app", "app.application"),
    "flask": ("", "import app", "app.create_app()"),
    "django": ("", "from mysite.wsgi import application as site", "site"),
}


@pytest.fixture(scope="module")
def validated(site):
    """The same applications, each inside wsgiref.validate."""
    run = pathlib.Path(tempfile.mkdtemp(prefix="wsgi-"))
    run.chmod(0o755)
    locations = []
    for name, (_, statement, expression) in VALIDATED.items():
        (run / f"{name}_valid.py").write_text(f"""
import importlib.util
import sys
import warnings
from wsgiref.validate import validator

warnings.simplefilter("always")
folder = {str(EXAMPLES / name)!r}
sys.path.insert(0, folder)
sys.modules.pop("app", None)
{statement}
sys.path.remove(folder) if {name!r} != "django" else None
application = validator({expression})
""")
        slash = "/" if name in ("environ", "flask", "django", "downloads", "chat", "events") else ""
        inline = "wsgi_threads 0;" if name in ("sleep", "chat", "events") else ""
        locations.append(f"location /{name}{slash} {{ client_max_body_size 1g; {inline} wsgi_pass {name}_valid.py; }}")
    server = Nginx(run, "\n".join(locations), check_fds=False, http=f"""
        wsgi_python_executable {frameworks()};
        wsgi_env EXAMPLES_RUN {site.folder};
        wsgi_var downloads.secret "a secret";
    """)
    server.start()
    yield server
    try:
        server.stop()
    finally:
        server.kill()
    shutil.rmtree(run, ignore_errors=True)


@pytest.mark.parametrize("method, target, body, status", [
    ("GET", "/hello", None, 200),
    ("HEAD", "/hello", None, 200),
    ("GET", "/environ/a/b?c=d", None, 200),
    ("GET", "/streaming", None, 200),
    ("GET", "/upload", None, 200),
    ("POST", "/upload", b"x" * 3000000, 200),
    ("GET", "/large_file", None, 200),
    ("HEAD", "/large_file", None, 200),
    ("GET", "/downloads/", None, 200),
    ("GET", "/downloads/letter.txt", None, 403),
    ("POST", "/downloads/login", b"", 303),
    ("GET", "/middleware", None, 200),
    ("GET", "/reloading", None, 200),
    ("GET", "/threads?seconds=0", None, 200),
    ("GET", "/sleep?seconds=0.1", None, 200),
    ("GET", "/chat/", None, 200),
    ("POST", "/chat/say", b"text=hello", 303),
    ("GET", "/events/", None, 200),
    ("GET", "/flask/", None, 200),
    ("GET", "/flask/hello/you", None, 200),
    ("POST", "/flask/", b"name=you", 303),
    ("POST", "/flask/api/sum", b"[1, 2]", 200),
    ("GET", "/flask/nowhere", None, 404),
    ("GET", "/django/", None, 200),
    ("GET", "/django/admin/login/", None, 200),
    ("GET", "/django/nowhere", None, 404),
    ("POST", "/django/", b"name=you&text=hello", 403),
])
def test_under_wsgiref_validate(validated, method, target, body, status):
    kind = "application/json" if "api" in target else "application/x-www-form-urlencoded"
    since = validated.log_size()
    answer = validated.request(method, target, [("Content-Type", kind)] if body else [], body)
    assert answer.status == status, validated.tail()
    validated.get("/hello")
    complaints = [line for line in validated.log()[since:].splitlines()
                  if re.search(r"AssertionError|WSGIWarning|Traceback|garbage collected", line)]
    assert not complaints


def test_validator_sees_close(validated):
    """A client that leaves in the middle: the validator would say that the iterator was not closed."""
    since = validated.log_size()
    client = validated.connect(rcvbuf=4096)
    client.send_request("GET", "/large_file")
    client.read_head()
    client.reset()
    wait_for(lambda: validated.status()["active"] == 1, "the connection is closed")
    validated.get("/environ/")
    assert not [line for line in validated.log()[since:].splitlines() if "garbage collected" in line]
