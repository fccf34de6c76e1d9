"""REMOTE_USER is a user whom auth_basic has accepted, and never a name that a client only claims."""

import base64

import pytest

from harness.apps import serve

APP = """
    def at_user(environ, start_response):
        return answer(start_response, environ.get("REMOTE_USER"))
    """
AUTH = "auth_basic closed; auth_basic_user_file %%FOLDER%%/users;"
USERS = "ann:{PLAIN}secret\n"


def user(server, password="secret", target="/user"):
    token = base64.b64encode(f"ann:{password}".encode()).decode()
    answer = server.get(target, [("Authorization", f"Basic {token}")])
    return answer.json() if answer.status == 200 else answer.status


@pytest.mark.parametrize("location, wanted", [
    (AUTH, "ann"),
    ("", None),
    # nginx parses the header as soon as somebody asks for the variable.
    ("set $name $remote_user;", None),
    (f"{AUTH} set $name $remote_user;", "ann"),
    (f"{AUTH} auth_basic off; set $name $remote_user;".replace("auth_basic closed; ", ""), None),
    # Another check lets the request pass, whatever the password.
    (f"satisfy any; allow all; {AUTH} set $name $remote_user;", None),
])
def test_only_if_checked(nginx, location, wanted):
    server = serve(nginx, APP, f"location / {{ {location} wsgi_pass app.py; }}")
    (server.folder / "users").write_text(USERS)
    assert user(server) == wanted
    if AUTH in location and "satisfy" not in location:
        assert user(server, "wrong") == 401


def test_not_on_an_error_page(nginx):
    server = serve(nginx, APP, f"""
        location / {{ {AUTH} error_page 401 =200 /user; wsgi_pass app.py; }}
        location = /user {{ wsgi_pass app.py; }}
        """)
    (server.folder / "users").write_text(USERS)
    assert user(server, "wrong", "/closed/") is None


def test_on_a_subrequest_of_a_protected_page(nginx):
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'{"part": <!--#include virtual="/user" -->}']
    """, f"""
        location / {{ ssi on; {AUTH} wsgi_pass app.py; }}
        """)
    (server.folder / "users").write_text(USERS)
    assert user(server, target="/page") == {"part": "ann"}
