"""How request headers become environ keys, and what never does."""

import base64
import subprocess

import pytest

APP = "location / { wsgi_pass environ_app.py; }"
SECRET = "Basic " + base64.b64encode(b"alice:secret").decode()


def test_cookies_and_repeated_headers(nginx, environ_app):
    client = nginx(APP).connect()
    environ = client.request("GET", "/", [("Cookie", "a=1"), ("X-R", "one"), ("Cookie", "b=2; c=3"), ("x-r", "two"),
                                          ("COOKIE", "d=4"), ("X-r", "three"), ("X-Forwarded-For", "1.1.1.1"),
                                          ("X-Forwarded-For", "2.2.2.2")]).json()
    assert environ["HTTP_COOKIE"] == "a=1; b=2; c=3; d=4"
    assert environ["HTTP_X_R"] == "one, two, three"
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.1.1.1, 2.2.2.2"
    # Nothing of the last request stays behind on the connection.
    environ = client.request("GET", "/").json()
    assert not {"HTTP_COOKIE", "HTTP_X_R", "HTTP_X_FORWARDED_FOR"} & set(environ)


def test_repeated_headers_with_the_same_value(nginx, environ_app):
    # Of the first one the gateway keeps the last value, of the others Python has one object for all.
    server = nginx(APP)
    for name, value in (("X-Forwarded-For", "10.0.0.1"), ("X-One", "a"), ("X-Empty", "")):
        environ = server.environ("/", [(name, value)] * 3)
        assert environ["HTTP_" + name.upper().replace("-", "_")] == ", ".join([value] * 3)


def test_many_and_long_headers(nginx, environ_app):
    server = nginx(APP, http="large_client_header_buffers 4 64k;")
    headers = [(f"X-Number-{n}", f"value {n}") for n in range(200)] + [("X-Long", "y" * 60000)]
    environ = server.environ("/", headers)
    assert all(environ[f"HTTP_X_NUMBER_{n}"] == f"value {n}" for n in range(200))
    assert environ["HTTP_X_LONG"] == "y" * 60000
    environ = server.environ("/", [("X-Repeat", str(n)) for n in range(200)])
    assert environ["HTTP_X_REPEAT"] == ", ".join(map(str, range(200)))


@pytest.mark.parametrize("underscores", ["on", "off"])
def test_proxy_is_never_passed(nginx, environ_app, underscores):
    server = nginx(f"underscores_in_headers {underscores};" + APP)
    environ = server.environ("/", [("Proxy", "http://evil"), ("PROXY", "x"), ("proxy", "y"), ("Proxy-Foo", "kept")])
    assert "HTTP_PROXY" not in environ
    assert environ["HTTP_PROXY_FOO"] == "kept"


def test_underscores_do_not_spoof_other_headers(nginx, environ_app):
    environ = nginx(APP).environ("/", [("X_Forwarded_For", "evil"), ("X-Forwarded_For", "evil"),
                                       ("X-Forwarded-For", "good"), ("Content_Length", "7"), ("Remote_User", "root")])
    assert environ["HTTP_X_FORWARDED_FOR"] == "good"
    assert not {"HTTP_CONTENT_LENGTH", "HTTP_REMOTE_USER", "REMOTE_USER", "CONTENT_LENGTH"} & set(environ)


def test_underscores_that_are_let_in_do_not_make_keys_that_must_not_exist(nginx, environ_app):
    server = nginx("underscores_in_headers on;" + APP)
    environ = server.environ("/", [("Content_Length", "7"), ("Content_Type", "a/b"), ("Transfer_Encoding", "chunked"),
                                   ("Proxy_Authorization", SECRET), ("X_Own", "kept")])
    assert environ["HTTP_X_OWN"] == "kept"
    absent = {"CONTENT_LENGTH", "CONTENT_TYPE", "TRANSFER_ENCODING", "PROXY_AUTHORIZATION"}
    assert not (absent | {f"HTTP_{key}" for key in absent}) & set(environ)


def test_headers_cannot_set_keys_of_the_server(nginx, environ_app):
    environ = nginx(APP).environ("/", [("Remote-User", "root"), ("Https", "on"), ("Script-Name", "/x"),
                                       ("Wsgi.Version", "9"), ("Request-Method", "POST")])
    assert environ["REQUEST_METHOD"] == "GET" and environ["SCRIPT_NAME"] == ""
    assert "REMOTE_USER" not in environ and "HTTPS" not in environ
    assert environ["HTTP_REMOTE_USER"] == "root" and environ["HTTP_HTTPS"] == "on"


def test_values_keep_their_bytes(nginx, environ_app):
    environ = nginx(APP).environ("/", [("X-Utf8", "h\xc3\xa9llo"), ("X-Latin", "h\xe9llo"), ("X-Tab", "a\tb"),
                                       ("X-Spaces", "  a  b  "), ("X-Quote", 'a"b\\c%s')])
    assert environ["HTTP_X_UTF8"] == "h\xc3\xa9llo"
    assert environ["HTTP_X_LATIN"] == "h\xe9llo"
    assert environ["HTTP_X_TAB"] == "a\tb"
    assert environ["HTTP_X_SPACES"] == "a  b"
    assert environ["HTTP_X_QUOTE"] == 'a"b\\c%s'


def test_the_process_environment_stays_out(nginx, environ_app):
    server = nginx(APP, main="env SECRET_TOKEN; env HTTP_X_SPOOFED; env GIVEN=1;", http="wsgi_env FROM_CONF 1;",
                   env={"SECRET_TOKEN": "1", "HTTP_X_SPOOFED": "1", "PYTHONPATH": "/nowhere"})
    environ = server.environ("/")
    leaked = {"SECRET_TOKEN", "HTTP_X_SPOOFED", "GIVEN", "FROM_CONF", "PATH", "HOME", "PYTHONPATH", "TZ", "LANG"}
    assert not leaked & set(environ)


def auth(server):
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "secret"], capture_output=True, text=True,
                            check=True).stdout.strip()
    (server.folder / "users").write_text(f"alice:{hashed}\n")
    return server


BASIC = 'auth_basic "closed"; auth_basic_user_file %%FOLDER%%/users;'


def test_remote_user_comes_from_auth_basic_only(nginx, environ_app):
    server = auth(nginx(f"""
        location /open {{ wsgi_pass environ_app.py; }}
        location /closed {{ {BASIC} wsgi_pass environ_app.py; }}
        location /off {{ auth_basic off; wsgi_pass environ_app.py; }}
        """))
    assert "REMOTE_USER" not in server.environ("/open")
    # The client's word alone names nobody.
    assert "REMOTE_USER" not in server.environ("/open", [("Authorization", SECRET)])
    assert "REMOTE_USER" not in server.environ("/off", [("Authorization", SECRET)])
    assert server.get("/closed").status == 401
    environ = server.environ("/closed", [("Authorization", SECRET)])
    assert environ["REMOTE_USER"] == "alice"
    assert "HTTP_AUTHORIZATION" not in environ


def test_authorization_is_withheld_unless_wanted(nginx, environ_app):
    server = nginx("""
        location /default { wsgi_pass environ_app.py; }
        location /on { wsgi_pass environ_app.py; wsgi_pass_authorization on; }
        location /off { wsgi_pass environ_app.py; wsgi_pass_authorization off; }
        """)
    headers = [("Authorization", "Bearer token"), ("Proxy-Authorization", "Basic x"), ("X-Authorization", "kept")]
    for target in ("/default", "/off"):
        environ = server.environ(target, headers)
        assert not {"HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION"} & set(environ), target
        assert environ["HTTP_X_AUTHORIZATION"] == "kept"
    environ = server.environ("/on", headers)
    assert environ["HTTP_AUTHORIZATION"] == "Bearer token"
    assert environ["HTTP_PROXY_AUTHORIZATION"] == "Basic x"


def test_content_length_and_type(nginx, environ_app):
    client = nginx(APP).connect()

    def keys(*args, **more):
        environ = client.request(*args, **more).json()
        return environ.get("CONTENT_TYPE"), environ.get("CONTENT_LENGTH"), environ["body"]

    assert keys("GET", "/") == (None, None, "")
    assert keys("POST", "/") == (None, None, "")
    assert keys("POST", "/", body=b"") == (None, "0", "")
    assert keys("PUT", "/", [("Content-Type", "a/b; c=\"d\"")], b"abc") == ('a/b; c="d"', "3", "abc")
    assert keys("GET", "/", [("Content-Type", "a/b")], b"abc") == ("a/b", "3", "abc")
    assert keys("DELETE", "/", [("Content-Type", "a/b")]) == ("a/b", None, "")
    assert keys("POST", "/", [("Content-Type", "a/b")], b"abcdef", chunked=True) == ("a/b", "6", "abcdef")
    assert keys("POST", "/", [("Content-Type", "")], b"x")[1:] == ("1", "x")
    for method in ("GET", "POST"):
        environ = client.request(method, "/", [("Content-Type", "a/b")], b"abc").json()
        assert "HTTP_CONTENT_TYPE" not in environ and "HTTP_CONTENT_LENGTH" not in environ


def test_range_and_conditional_headers_reach_the_application(nginx, environ_app):
    environ = nginx(APP).environ("/", [("Range", "bytes=0-1"), ("If-None-Match", '"x"'), ("If-Modified-Since", "x"),
                                       ("If-Match", "*"), ("TE", "trailers"), ("Keep-Alive", "1"), ("Via", "v")])
    for key, value in (("HTTP_RANGE", "bytes=0-1"), ("HTTP_IF_NONE_MATCH", '"x"'), ("HTTP_IF_MODIFIED_SINCE", "x"),
                       ("HTTP_IF_MATCH", "*"), ("HTTP_TE", "trailers"), ("HTTP_KEEP_ALIVE", "1"), ("HTTP_VIA", "v")):
        assert environ[key] == value
