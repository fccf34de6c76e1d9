"""wsgi_status: which format a client gets, and what is in JSON and in the text for Prometheus."""

import re
import shutil
import subprocess

import pytest

from harness.apps import serve
from harness.status import LOCATION, app, at_rest, prometheus, status

pytestmark = pytest.mark.once

APP = """
def at_hello(environ, start_response):
    return answer(start_response, b"hello")

def at_slow(environ, start_response):
    time.sleep(0.06)
    return answer(start_response, b"slow")

def at_raise(environ, start_response):
    raise ValueError("planned")

def at_503(environ, start_response):
    start_response("503 Service Unavailable", PLAIN)
    return [b"on purpose"]
"""
SERVER = "wsgi_block_warning off; location / { wsgi_pass app.py; }" + LOCATION
HTML, JSON = "text/html; charset=utf-8", "application/json; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
SCRAPER = ("application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
           "text/plain;version=0.0.4;q=0.3,*/*;q=0.2")


@pytest.mark.parametrize("accept, query, kind", [
    (None, "", HTML), ("*/*", "", HTML), ("image/png", "", HTML), ("application/json", "", JSON),
    (SCRAPER, "", PROMETHEUS), (None, "?format=prometheus", PROMETHEUS),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", HTML),
    ("text/plain; version=0.0.4", "", PROMETHEUS), ("application/openmetrics-text", "", PROMETHEUS),
    ("text/html", "?format=json", JSON), ("application/json", "?format=html", HTML),
    (None, "?stacks=1&format=prometheus", PROMETHEUS), (None, "?other=1", HTML),
])
def test_format(nginx, accept, query, kind):
    server = serve(nginx, APP, SERVER)
    for method in ("GET", "HEAD"):
        answer = server.request(method, f"/status{query}", [("Accept", accept)] if accept else [])
        assert (answer.status, answer.header("Content-Type")) == (200, kind)
        assert answer.header("Cache-Control") == "no-store"
        assert bool(answer.body) is (method == "GET")
        assert int(answer.header("Content-Length")) > 100


@pytest.mark.parametrize("query", ["?format=xml", "?format=", "?format=JSON"])
def test_unknown_format(nginx, query):
    assert serve(nginx, APP, SERVER).get(f"/status{query}").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods(nginx, method):
    answer = serve(nginx, APP, SERVER).request(method, "/status", body=b"x" * 1000)
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")


def test_a_body_is_thrown_away(nginx):
    server = serve(nginx, APP, SERVER)
    with server.connect() as client:
        for body in (b"x" * 100_000, b"y"):
            assert client.request("GET", "/status?format=json&stacks=1", body=body).status == 200
        server.clients.remove(client)


@pytest.mark.parametrize("where", [{}, {"tls": True}])
def test_over_http2(nginx, where):
    server = serve(nginx, APP, SERVER, tls=True, h2c=True)
    client = server.h2(**where)
    for target in ("/status?format=json", "/status?format=json&stacks=1"):
        assert client.request("GET", target).json()["workers"]


def test_without_an_application(nginx):
    server = nginx(LOCATION)
    assert status(server)["applications"] == []
    assert status(server, "&stacks=1")["requests"] == []
    assert "no application" in server.get("/status").text
    promtool(server.get("/status?format=prometheus").text)


def test_in_a_page_with_includes(nginx):
    server = serve(nginx, APP, SERVER + "location = /page { ssi on; ssi_types *; root .; try_files /page.txt =404; }")
    (server.folder / "page.txt").write_text(
        "<!--# include virtual='/status?format=json&stacks=1' --> and <!--# include virtual='/hello' -->")
    text = server.get("/page").text
    assert re.fullmatch(r'\{"answered_by":.*\}\n and hello', text, re.S), text


def test_json(nginx):
    server = serve(nginx, APP, SERVER)
    for target in ("/hello", "/hello", "/slow", "/raise", "/503"):
        server.get(target)
    found = at_rest(server)
    assert found["answered_by"] == server.worker
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["module"]) and re.fullmatch(r"3\.\d+", found["python"])
    (worker,) = found["workers"]
    (process,) = worker["processes"]
    assert process["pid"] == server.worker and process["resident_bytes"] > 5_000_000
    assert worker["replaced"] == {"max_requests": 0, "max_memory": 0, "timeout": 0, "reload": 0}
    (shown,) = found["applications"]
    assert (shown["interpreter"], shown["middleware"]) == (None, [])
    numbers = shown["total"]
    # An answer that the application has chosen is no error of it.
    assert (numbers["requests"], numbers["errors"], numbers["in_flight"], numbers["timeouts"]) == (5, 1, 0, 0)
    assert numbers["rejected"] == {"queue_full": 0, "queue_timeout": 0}
    run = numbers["run_time"]
    assert run["count"] == 5 and 0.06 <= run["seconds"] < 1
    counts = {bucket["at_most"]: bucket["count"] for bucket in run["buckets"]}
    assert counts[0.05] == 4 and counts[60] == 5
    assert list(counts.values()) == sorted(counts.values())
    assert numbers["queue_time"]["count"] == 5
    assert "stack" not in str(found)


def test_applications_that_differ_in_interpreter_or_middleware(nginx):
    server = serve(nginx, APP, """wsgi_enable_subinterpreters on; wsgi_python_path %%FOLDER%%;
        location / { wsgi_pass app.py; }
        location /hello { wsgi_interpreter shop; wsgi_pass app.py; }
        location /slow { wsgi_interpreter shop; wsgi_middleware middle; wsgi_pass app.py; }
    """ + LOCATION, apps={"middle.py": "def application(app):\n    return app\n"})
    for target in ("/503", "/hello", "/hello", "/slow"):
        server.get(target)
    apps = at_rest(server)["applications"]
    seen = {(app["interpreter"], *app["middleware"]): app["total"]["requests"] for app in apps}
    assert seen == {(f"{server.folder}/app.py",): 1, ("shop",): 2, ("shop", "middle"): 1}
    samples = prometheus(server.get("/status?format=prometheus").text)
    counted = {dict(labels).get("middleware"): value for (name, labels), value in samples.items()
               if name == "wsgi_requests_total" and dict(labels)["interpreter"] == "shop"}
    assert counted == {None: 2, "middle": 1}


def promtool(text):
    """What Prometheus itself says to it: nothing."""
    tool = shutil.which("promtool")
    assert tool, "promtool is in Debian's package prometheus: make deps"
    done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("workers", [1, 3])
def test_prometheus(nginx, workers):
    server = serve(nginx, APP, SERVER, workers=workers)
    for target in ("/hello", "/raise", "/slow"):
        server.get(target)
    at_rest(server)
    text = server.get("/status?format=prometheus").text
    promtool(text)
    samples = prometheus(text)
    name = ("application", f"{server.folder}/app.py")

    def total(metric, *labels):
        return sum(value for (found, pairs), value in samples.items()
                   if found == metric and name in pairs and pairs >= set(labels))
    assert (total("wsgi_requests_total"), total("wsgi_errors_total"), total("wsgi_requests_in_flight")) == (3, 1, 0)
    assert total("wsgi_run_time_seconds_count") == total("wsgi_run_time_seconds_bucket", ("le", "+Inf")) == 3
    assert total("wsgi_run_time_seconds_bucket", ("le", "0.05")) == 2
    assert 0.06 <= total("wsgi_run_time_seconds_sum") < 1
    running = {int(dict(pairs)["pid"]) for found, pairs in samples if found == "wsgi_worker_resident_memory_bytes"}
    assert running == set(server.workers())
    assert {dict(pairs)["worker"] for found, pairs in samples if found == "wsgi_requests_total"} == set(
        map(str, range(workers)))


def test_prometheus_labels_are_escaped(nginx):
    server = serve(nginx, APP, r"""wsgi_enable_subinterpreters on;
        location / { wsgi_interpreter 'a"b\\c{}'; wsgi_pass app.py; }""" + LOCATION)
    text = server.get("/status?format=prometheus").text
    promtool(text)
    assert r'interpreter="a\"b\\c{}"' in text
    assert app(server)["interpreter"] == r'a"b\c{}'
