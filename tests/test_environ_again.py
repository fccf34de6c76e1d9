"""environ that an application has neither kept nor changed is filled again for the next request."""

import random

import pytest
from harness.apps import serve as serve_notes
from harness.apps import wait_notes

THREADS = pytest.mark.parametrize("threads", [0, 2])
# What both requests have of an entry that changes from request to request, or says where an object is.
APP = """
import gc

kept = []
OBJECTS = ("wsgi.errors", "wsgi.input", "wsgi.file_wrapper", "ngx.client_disconnected", "REMOTE_PORT")


def application(environ, start_response):
    if environ["SCRIPT_NAME"] == "/kept":
        kept.append(environ)
    entries = [(key, "object" if key in OBJECTS or callable(value) else value) for key, value in environ.items()]
    body = repr(entries).replace("/kept", "/again").encode("latin-1")
    # One that was there when rubbish was collected is that of an earlier request.
    is_again = any(thing is environ for thing in gc.get_objects(generation=2))
    gc.collect()
    body += environ["wsgi.input"].read() + (b"again" if is_again else b"a new")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
SERVER = """
    wsgi_enable_subinterpreters on;
    underscores_in_headers on;
    wsgi_pass_authorization on;
    wsgi_threads THREADS;
    wsgi_var CONSTANT constant;
    wsgi_var OF_REQUEST $http_x_var if_not_empty;
    wsgi_var HTTP_X_OVERWRITTEN by-configuration;
    wsgi_var HTTP_ACCEPT $http_x_accept if_not_empty;
    location /again { wsgi_pass app.py; }
    # Another one, so that the first has all to itself.
    location /kept { wsgi_pass app.py; wsgi_interpreter kept; }
"""
HEADERS = [("Accept", "text/html"), ("Accept", "*/*"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("User-Agent", "x" * 300),
           ("User-Agent", "short"), ("X-Own", "1"), ("X-Own", "2"), ("Authorization", "Basic eA=="), ("Proxy", "x"),
           ("X-Var", "var"), ("X-Accept", "from-var"), ("X-Overwritten", "by-client"), ("Content_Type", "x"),
           ("Referer", "a"), ("Referer", "\xe4"), ("Content-Type", "text/x"), ("Via", "1"), ("Via", "2")]


def serve(nginx, threads, app=APP, text=SERVER, **options):
    return nginx(text.replace("THREADS", str(threads)), apps={"app.py": app}, **options)


def split(answer):
    """The entries, and whether they were in the dictionary of an earlier request."""
    return answer.body[:-5], answer.body[-5:] == b"again"


@THREADS
def test_it_is_what_a_new_one_would_be(nginx, threads):
    """Three requests of each kind in a row, beside one of an application that keeps every environ; the order of the
    entries counts as well."""
    server = serve(nginx, threads, tls=True, unix=True)
    chosen = random.Random(threads)
    refilled = 0
    with server.connect() as plain, server.connect(tls=True) as tls, server.connect(unix=True) as unix:
        clients = [plain, plain, tls, unix]
        for _ in range(120):
            method = chosen.choice(["GET", "GET", "POST", "HEADLESS"])
            headers = chosen.sample(HEADERS, chosen.choice([0, 1, 2, 3, 5, 12]))
            # The same server without TLS and with, and where it knows no port of the client.
            client = chosen.choice(clients)
            query = chosen.choice(["", "", "?q", "?w"])
            body = chosen.choice([b"", b"body"]) if method == "POST" else None
            answers = [split(client.request(method, f"/again/p{query}", headers, body=body)) for _ in range(3)]
            kept, _ = split(client.request(method, f"/kept/p{query}", headers, body=body))
            assert [again for again, _ in answers] == [kept] * 3
            refilled += answers[2][1]
    # Far from always: clients that repeat a header have a new one each time, for example.
    assert refilled > 20


@THREADS
@pytest.mark.parametrize("change", [
    'environ["mine"] = 1', 'environ["PATH_INFO"] = "/changed"', 'del environ["HTTP_HOST"]', "environ.clear()",
    'environ["HTTP_HOST"] = environ.pop("HTTP_HOST")', 'environ.setdefault("mine", 1)', 'environ |= {"mine": 1}',
    'environ.__init__(mine=1)', "environ.popitem()", 'del environ["wsgi.errors"]', 'environ["wsgi.errors"] = None'])
def test_what_was_changed_is_not_seen_again(nginx, threads, change):
    server = serve(nginx, threads, """
def application(environ, start_response):
    seen = repr([(key, type(value).__name__ if "." in key else value)
                 for key, value in environ.items() if key != "REMOTE_PORT"])
    body = seen.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    if "change" in environ.get("QUERY_STRING"):
        CHANGE
    return [body]
""".replace("CHANGE", change), "wsgi_threads THREADS; location / { wsgi_pass app.py; }")
    with server.connect() as client:
        first = client.request("GET", "/").body
        for _ in range(3):
            client.request("GET", "/?change")
            assert client.request("GET", "/").body == first


@THREADS
def test_secrets_do_not_outlive_their_request(nginx, threads):
    server = serve_notes(nginx, """
import gc


class Endless:
    def __iter__(self):
        return self

    def __next__(self):
        return bytes(65536)

    def close(self):
        note("closed")


def search():
    dicts = [d for d in gc.get_objects() if type(d) is dict and "REQUEST_METHOD" in d]
    resting = [d for d in dicts if d.get("HTTP_REFERER") == "no-matter"]
    secrets = [value for d in dicts for value in list(d.values()) if type(value) is str and "secret" in value]
    return f"{len(resting)} at rest, with {secrets}".encode()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["QUERY_STRING"] == "endless":
        return Endless()
    return [search() if environ["QUERY_STRING"] == "search" else b"body"]
""", server="""wsgi_pass_authorization on; wsgi_var FROM_VARIABLE $http_x_for_var if_not_empty;
    wsgi_threads %d; location / { wsgi_pass app.py; }""" % threads)
    secrets = [("Referer", "no-matter"), ("Authorization", "secret 1"), ("Cookie", "secret 2"),
               ("X-Api-Key", "secret 3"), ("X-For-Var", "secret 4"), ("User-Agent", "secret" + "x" * 300)]
    # Has a set of objects for itself meanwhile, which is the next to be lent when it ends.
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/?endless")
    client.read_head()
    server.get("/", secrets)
    client.close()
    wait_notes(server, "closed")
    assert server.get("/?search").text == "1 at rest, with []"


@THREADS
def test_what_an_application_adds_goes_when_it_returns(nginx, threads):
    """And not when a slow client has got everything."""
    server = serve_notes(nginx, """
class Mine:
    def __del__(self):
        note("gone")


class Endless:
    def __iter__(self):
        return self

    def __next__(self):
        return bytes(65536)


def application(environ, start_response):
    environ["mine"] = Mine()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Endless()
""", server="wsgi_threads %d; location / { wsgi_pass app.py; }" % threads)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/")
    client.read_head()
    wait_notes(server, "gone")


@THREADS
def test_many_headers_leave_no_large_dictionary(nginx, threads):
    server = serve(nginx, threads, """
import sys


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(sys.getsizeof(environ)).encode()]
""", "wsgi_threads THREADS; location / { wsgi_pass app.py; }")
    with server.connect() as client:
        small = [client.request("GET", "/").text for _ in range(3)]
        large = client.request("GET", "/", [(f"X-{number}", "x") for number in range(200)]).text
        assert int(large) > 4 * int(small[0])
        assert [client.request("GET", "/").text for _ in range(3)] == small
