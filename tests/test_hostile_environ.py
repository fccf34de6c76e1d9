"""Whatever a header is called, it becomes a key that begins with HTTP_, and none that somebody else answers for.

test_environ_headers.py has what the usual headers become; this is every key that the server sets, as a header.
"""

import base64

import pytest

from harness.nginx import wait_for

pytestmark = pytest.mark.once

LOOSE = "underscores_in_headers on; ignore_invalid_headers off;"
APP = '''
import json


def application(environ, start_response):
    """Names the keys that are no strings by their types."""
    shown = {key: value if isinstance(value, str) else repr(type(value)) for key, value in environ.items()}
    shown["body"] = environ["wsgi.input"].read().decode("latin-1")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]
'''
SECRET = "Basic " + base64.b64encode(b"alice:secret").decode()
# Nobody but nginx decides on these; no spelling of a header may give them.
FORBIDDEN = {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_AUTHORIZATION",
             "HTTP_PROXY_AUTHORIZATION"}
OWN = ["CONTENT_LENGTH", "CONTENT_TYPE", "REMOTE_USER", "HTTPS", "SCRIPT_NAME", "PATH_INFO", "REQUEST_METHOD",
       "REQUEST_URI", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "DOCUMENT_ROOT",
       "QUERY_STRING", "SSL_PROTOCOL", "PATH", "APP_SECRET"]


def spellings(key):
    """Header names that some server would make this key of."""
    yield from (key, key.lower(), key.title(), key.replace("_", "-"), key.replace("_", "-").title())
    yield from (key.replace("_", "."), f"HTTP_{key}", f"HTTP-{key}", f"_{key}", f"{key}_", f"-{key}")


@pytest.fixture
def server(nginx):
    return nginx("location / { wsgi_var APP_SECRET trusted; wsgi_pass app.py; }", apps={"app.py": APP}, http=LOOSE,
                 level="warn")


def difference(server, name, value="forged", **more):
    """What the header has added to the environ, or changed of it; its own request is the same but for the header."""
    headers = [("Host", "a")]
    client = server.connect()
    plain = client.request("GET", "/x?y", headers, **more).json()
    forged = client.request("GET", "/x?y", [*headers, (name, value)], **more).json()
    client.close()
    return {key: forged.get(key) for key in plain.keys() | forged.keys() if plain.get(key) != forged.get(key)}


def test_keys_of_the_server(server):
    before = server.get("/").json()
    keys = {*OWN, *before} - {"body"}
    assert {"wsgi.input", "wsgi.errors", "wsgi.version", "APP_SECRET"} <= keys
    for key in sorted(keys):
        for name in spellings(key):
            if name.lower() in ("content-type", "content-length", "host", "connection"):
                continue
            changed = difference(server, name)
            assert len(changed) <= 1 and all(each.startswith("HTTP_") for each in changed), f"{name}: {changed}"
            assert not FORBIDDEN & changed.keys(), f"{name}: {changed}"


@pytest.mark.parametrize("name", [
    "Proxy", "PROXY", "pRoXy", "Content_Length", "CONTENT_LENGTH", "Content_Type", "Transfer_Encoding",
    "TRANSFER_ENCODING", "Proxy_Authorization", "Authorization", "AUTHORIZATION", "Proxy-Authorization",
])
def test_headers_that_must_not_come_under_another_spelling(server, name):
    assert difference(server, name, SECRET if "uthor" in name.lower() else "7") == {}


def test_what_the_configuration_says_wins(server):
    for name in ("App_Secret", "APP-SECRET", "HTTP_APP_SECRET"):
        assert "APP_SECRET" not in difference(server, name)
    assert server.get("/", [("APP_SECRET", "forged")]).json()["APP_SECRET"] == "trusted"


def test_a_variable_in_the_name_of_a_header(nginx):
    """A value that the configuration gives under HTTP_ is not joined with the client's."""
    config = "location / { wsgi_var HTTP_X_REAL_IP $remote_addr; wsgi_var HTTP_X_GONE $nothing; wsgi_pass app.py; }"
    server = nginx(config, apps={"app.py": APP},
                   http=f'{LOOSE} map "" $nothing {{ default ""; }}')
    for name in ("X-Real-IP", "X_Real_IP", "x_real-ip", "X-REAL_IP"):
        assert server.get("/", [(name, "6.6.6.6"), (name, "7.7.7.7")]).json()["HTTP_X_REAL_IP"] == "127.0.0.1"
    assert server.get("/", [("X-Gone", "forged")]).json()["HTTP_X_GONE"] == ""


def test_the_body_is_nobodys_header(server):
    for name, value in (("Content_Length", "2"), ("Content_Type", "a/b"), ("Wsgi.Input", "x"),
                        ("Transfer_Encoding", "x")):
        environ = server.post("/", b"body", [(name, value)]).json()
        assert (environ["CONTENT_LENGTH"], environ["body"]) == ("4", "body")
        assert "CONTENT_TYPE" not in environ and "HTTP_TRANSFER_ENCODING" not in environ


def test_over_http_2(nginx):
    """Pseudo-headers are nginx's, and what looks like one is refused or nothing."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, http=LOOSE, h2c=True)
    client = server.h2()
    plain = client.request("GET", "/x").json()
    assert plain["HTTP_HOST"] == "localhost"
    for name, value in (("proxy", "x"), ("content_length", "9"), ("transfer_encoding", "chunked"), ("https", "on"),
                        ("wsgi.url_scheme", "https"), ("remote_user", "root"), ("script_name", "/x"),
                        ("host", "other")):
        with server.h2() as other:
            stream = other.send_request("GET", "/x", [(name, value)])
            other.wait(lambda stream=stream: stream.complete or stream.reset is not None, name)
            if stream.status != 200:
                assert stream.status == 400 or stream.reset is not None
                continue
            seen = stream.json()
            changed = {key for key in seen.keys() | plain.keys() if seen.get(key) != plain.get(key)} - {"REMOTE_PORT"}
            assert all(key.startswith("HTTP_") for key in changed) and not FORBIDDEN & changed, f"{name}: {changed}"
            assert seen["HTTP_HOST"].startswith("localhost"), f"{name}: {seen}"
    for name in (":path", ":method", ":scheme", ":authority", ":status", ":x", "X-Upper", "x a", "x\r\ny"):
        with server.h2() as other:
            stream = other.send_request("GET", "/x", [(name, "/forged")])
            wait_for(lambda: not other.pump() or stream.complete or stream.reset is not None, name)
            # Some versions take upper case for a name like others where invalid ones are not ignored.
            assert stream.status in (None, 400) or name == "X-Upper" and stream.json()["PATH_INFO"] == "/x", name
