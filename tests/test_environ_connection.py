"""What environ says of the connection: addresses, ports, protocol, server name, TLS, HTTP versions."""

import os
import re

import pytest

from harness.http import Connection
from harness.nginx import free_port

APP = "location / { wsgi_pass environ_app.py; }"


def test_ipv4(nginx, environ_app):
    server = nginx(APP)
    client = server.connect()
    environ = client.request("GET", "/").json()
    assert environ["REMOTE_ADDR"] == environ["SERVER_ADDR"] == "127.0.0.1"
    assert environ["REMOTE_PORT"] == str(client.sock.getsockname()[1])
    assert environ["SERVER_PORT"] == str(server.port)
    assert environ["SERVER_NAME"] == "localhost"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert re.match(r"nginx", environ["SERVER_SOFTWARE"])
    assert os.path.isabs(environ["DOCUMENT_ROOT"])
    assert environ["HTTP_HOST"] == "localhost"


def test_ipv6(nginx, environ_app):
    server = nginx(APP, ipv6=True)
    client = server.connect(ipv6=True)
    environ = client.request("GET", "/").json()
    assert environ["REMOTE_ADDR"] == environ["SERVER_ADDR"] == "::1"
    assert environ["REMOTE_PORT"] == str(client.sock.getsockname()[1])
    assert environ["SERVER_PORT"] == str(server.port6)


def test_unix_socket(nginx, environ_app):
    server = nginx(APP, unix=True)
    environ = server.environ("/", unix=True)
    assert environ["SERVER_PORT"] == "80"
    assert "REMOTE_PORT" not in environ
    assert environ["REMOTE_ADDR"] == "unix:"
    assert environ["SERVER_NAME"] == "localhost"
    assert environ["wsgi.url_scheme"] == "http"


def test_tls(nginx, environ_app):
    server = nginx(APP, tls=True)
    client = server.connect(tls=True)
    environ = client.request("GET", "/").json()
    assert (environ["HTTPS"], environ["REQUEST_SCHEME"], environ["wsgi.url_scheme"]) == ("on", "https", "https")
    assert environ["SSL_PROTOCOL"] == client.sock.version()
    assert environ["SSL_CIPHER"] == client.sock.cipher()[0]
    assert environ["SERVER_PORT"] == str(server.tls_port)


def test_server_name(nginx, environ_app):
    plain, wild, regex, none = (free_port() for _ in range(4))
    nginx(APP, servers=f"""
        server {{ listen 127.0.0.1:{plain}; server_name first.example second.example; {APP} }}
        server {{ listen 127.0.0.1:{wild}; server_name *.example.com plain.example; {APP} }}
        server {{ listen 127.0.0.1:{regex}; server_name "~^(?<sub>.+)\\.example$"; {APP} }}
        server {{ listen 127.0.0.1:{none}; {APP} }}
        """)

    def name(port, *headers, version="1.1"):
        with Connection(("127.0.0.1", port)) as client:
            return client.request("GET", "/", list(headers), version=version).json()["SERVER_NAME"]

    assert name(plain, ("Host", "second.example:99")) == "first.example"
    assert name(wild, ("Host", "WWW.example.com:99")) == "www.example.com"
    assert name(regex, ("Host", "x.example")) == "x.example"
    assert name(none, ("Host", "any.example:1")) == "any.example"
    assert name(none, version="1.0") == "127.0.0.1"


def test_request_methods(nginx, environ_app):
    client = nginx(APP).connect()
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "LOCK", "CUSTOM"):
        assert client.request(method, "/").json()["REQUEST_METHOD"] == method


def test_http_1_0(nginx, environ_app):
    server = nginx(APP)
    environ = server.connect().request("GET", "/x?y", version="1.0").json()
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/x", "y")


def test_http_0_9(nginx, environ_app):
    client = nginx(APP).connect()
    client.send(b"GET /old\r\n")
    data = client.read_rest()
    # No status line and no headers: the body alone.
    assert data.startswith(b"{") and b'"PATH_INFO": "/old"' in data and b'"SERVER_PROTOCOL": "HTTP/0.9"' in data


def test_absolute_form(nginx, environ_app):
    environ = nginx(APP).environ("http://other.example/a%20b?c", [("Host", "localhost")])
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "c")


@pytest.mark.parametrize("tls", [False, True])
def test_http_2(nginx, environ_app, tls):
    server = nginx(APP, tls=True, h2c=True)
    client = server.h2(tls=tls)
    stream = client.request("POST", "/a%20b?c=d", [("cookie", "a=1"), ("cookie", "b=2"), ("x-one", "1"),
                                                   ("x-one", "2"), ("content-type", "text/x")], b"body")
    environ = stream.json()
    assert environ["SERVER_PROTOCOL"] == "HTTP/2.0"
    assert environ["REQUEST_METHOD"] == "POST"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "c=d")
    assert environ["HTTP_HOST"] == "localhost"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_ONE"] == "1, 2"
    assert (environ["CONTENT_TYPE"], environ["body"], environ["CONTENT_LENGTH"]) == ("text/x", "body", "4")
    assert environ["wsgi.url_scheme"] == ("https" if tls else "http")
    assert not any(key.startswith("HTTP_:") for key in environ)


@pytest.mark.vendored_only
def test_http_3(nginx, environ_app):
    server = nginx(APP, h3=True)
    answer = server.h3(("POST", "/a%20b?c=d", [("cookie", "a=1"), ("cookie", "b=2"), ("x-one", "1")], b"body"))
    environ = answer.json()
    assert environ["SERVER_PROTOCOL"] == "HTTP/3.0"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "c=d")
    assert environ["HTTP_HOST"] == "localhost"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert (environ["body"], environ["CONTENT_LENGTH"]) == ("body", "4")
    assert (environ["HTTPS"], environ["wsgi.url_scheme"]) == ("on", "https")
    assert environ["REMOTE_ADDR"] == "127.0.0.1"


def test_realip(nginx, environ_app):
    server = nginx("set_real_ip_from 127.0.0.1; real_ip_header X-Real; " + APP)
    environ = server.environ("/", [("X-Real", "203.0.113.9")])
    assert environ["REMOTE_ADDR"] == "203.0.113.9"
