"""wsgi_pass_authorization: credentials are withheld unless asked for."""

import base64

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

BASIC = ("Authorization", "Basic " + base64.b64encode(b"joe:secret").decode())
PROXY = ("Proxy-Authorization", "Basic eDp5")
NAME = "wsgi_pass_authorization"


def test_off_by_default(nginx, environ_app):
    server = nginx("location / { wsgi_pass environ_app.py; }")
    environ = server.environ("/", [BASIC, PROXY])
    assert "HTTP_AUTHORIZATION" not in environ
    assert "HTTP_PROXY_AUTHORIZATION" not in environ
    assert not [value for value in environ.values() if isinstance(value, str) and BASIC[1] in value]


def test_on(nginx, environ_app):
    server = nginx("location / { wsgi_pass environ_app.py; wsgi_pass_authorization on; }")
    environ = server.environ("/", [BASIC, PROXY])
    assert environ["HTTP_AUTHORIZATION"] == BASIC[1]
    assert environ["HTTP_PROXY_AUTHORIZATION"] == PROXY[1]
    assert "HTTP_AUTHORIZATION" not in server.environ("/")


def test_remote_user_stays(nginx, environ_app, folder):
    """auth_basic has checked the user: REMOTE_USER says who it is, the password does not reach the application."""
    (folder / "users").write_text("joe:{PLAIN}secret\n")
    server = nginx("""
        location / { wsgi_pass environ_app.py; auth_basic here; auth_basic_user_file %%FOLDER%%/users; }
        location /open { wsgi_pass environ_app.py; }
    """)
    environ = server.environ("/", [BASIC])
    assert environ["REMOTE_USER"] == "joe"
    assert "HTTP_AUTHORIZATION" not in environ
    assert server.get("/", [("Authorization", "Basic " + base64.b64encode(b"joe:wrong").decode())]).status == 401
    # Nobody has checked this one, so it is nobody.
    assert "REMOTE_USER" not in server.environ("/open", [BASIC])


def test_inheritance(nginx, environ_app):
    server = nginx("""
        wsgi_pass_authorization on;
        location / { wsgi_pass environ_app.py; }
        location /off { wsgi_pass_authorization off; wsgi_pass environ_app.py; }
    """, http="wsgi_pass_authorization off;")
    assert "HTTP_AUTHORIZATION" in server.environ("/", [BASIC])
    assert "HTTP_AUTHORIZATION" not in server.environ("/off", [BASIC])


@pytest.mark.parametrize("value", ["on", "off", "ON", "Off"])
@pytest.mark.parametrize("level", ["http", "server"])
def test_accepted(nginx, value, level):
    accepts(nginx(start=False, **{level: f"{NAME} {value};"}))


@pytest.mark.parametrize("directive, message", [
    (f"{NAME};", wrong_count(NAME)),
    (f"{NAME} on off;", wrong_count(NAME)),
    (f"{NAME} maybe;", f'invalid value "maybe" in "{NAME}" directive, it must be "on" or "off"'),
    (f"{NAME} 1;", f'invalid value "1" in "{NAME}" directive, it must be "on" or "off"'),
])
def test_refused(nginx, directive, message):
    refuses(nginx(f"\n{directive}\n", start=False), directive, message)


def test_duplicate(nginx):
    refuses(nginx(f"{NAME} on;\n{NAME} off;", start=False), f"{NAME} off;", duplicate(NAME))


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: f"{NAME} on;"}), NAME, not_allowed(NAME))
