"""PEP 3333, points 1 to 15: how the application is called, and what its environ holds."""

import re

from harness.apps import serve
from harness.nginx import THREADS

KNOWN = set("""REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING CONTENT_TYPE CONTENT_LENGTH SERVER_NAME SERVER_PORT
    SERVER_PROTOCOL REQUEST_URI DOCUMENT_ROOT REMOTE_ADDR REMOTE_PORT SERVER_ADDR SERVER_SOFTWARE REQUEST_SCHEME HTTPS
    REMOTE_USER SSL_PROTOCOL SSL_CIPHER GATEWAY_INTERFACE DOCUMENT_URI""".split())

ENVIRON = "location / { wsgi_pass environ_app.py; }"


def test_01_application_is_called_with_two_positional_arguments(nginx):
    server = serve(nginx, """
        import functools

        def at_function(*args, **kwargs):
            return answer(args[1], [len(args), sorted(kwargs), type(args[0]).__name__, callable(args[1])])

        def at_names(first, second, /):
            return answer(second, "positional only")

        class Instance:
            def __call__(self, *args, **kwargs):
                return answer(args[1], [len(args), sorted(kwargs)])

        class at_class:
            def __init__(self, environ, start_response):
                self.start_response = start_response

            def __iter__(self):
                self.start_response("200 OK", PLAIN)
                yield b"from a class"

        at_instance = Instance()
        at_partial = functools.partial(lambda extra, environ, start_response: answer(start_response, extra), "bound")
        """)
    assert server.get("/function").json() == [2, [], "dict", True]
    assert server.get("/names").json() == "positional only"
    assert server.get("/instance").json() == [2, []]
    assert server.get("/class").body == b"from a class"
    assert server.get("/partial").json() == "bound"


def test_02_environ_is_exactly_a_dict_and_the_application_may_change_it(nginx):
    server = serve(nginx, """
        def at_type(environ, start_response):
            return answer(start_response, [type(environ) is dict, sorted(environ)])

        def at_change(environ, start_response):
            environ["X_MINE"] = object()
            environ["wsgi.version"] = None
            environ.clear()
            return answer(start_response, "changed")
        """)
    client = server.connect()
    exact, before = client.request("GET", "/type").json()
    assert exact
    assert client.request("GET", "/change").json() == "changed"
    assert client.request("GET", "/type").json() == [True, before]


def test_03_cgi_values_are_str_and_nothing_is_none(nginx):
    server = serve(nginx, """
        def at_types(environ, start_response):
            return answer(start_response, {key: type(value).__name__ for key, value in environ.items()
                                           if "." not in key})
        """, tls=True, unix=True)
    for options in ({}, {"tls": True}, {"unix": True}, {"version": "1.0"}):
        types = server.request("POST", "/types?a", [("X-Empty", ""), ("Cookie", "a=b")], b"123", **options).json()
        assert set(types.values()) == {"str"}
        assert "REMOTE_USER" not in types
        assert {"SERVER_PORT", "CONTENT_LENGTH", "HTTP_X_EMPTY"} <= set(types)


def test_04_all_values_are_latin1_of_the_raw_bytes(nginx, environ_app):
    server = nginx(ENVIRON)
    environ = server.environ("/%C3%A9%FF%80/€".encode().decode("latin-1") + "?q=%C3%A9\xfe",
                             [("X-Raw", "\xc3\xa9\xff\xa0x"), ("Cookie", "k=\xe2\x82\xac")])
    assert environ["PATH_INFO"] == "/\xc3\xa9\xff\x80/\xe2\x82\xac"
    assert environ["QUERY_STRING"] == "q=%C3%A9\xfe"
    assert environ["HTTP_X_RAW"] == "\xc3\xa9\xff\xa0x"
    assert environ["HTTP_COOKIE"] == "k=\xe2\x82\xac"
    assert environ["REQUEST_URI"] == "/%C3%A9%FF%80/\xe2\x82\xac?q=%C3%A9\xfe"
    assert all(ord(char) < 256 for value in environ.values() if isinstance(value, str) for char in value)


def test_05_required_keys_are_never_empty(nginx, environ_app):
    nameless = nginx(ENVIRON, server_name='""', unix=True)
    for version, headers in (("1.0", []), ("1.1", [("Host", "example.org:81")])):
        for where in ({}, {"unix": True}):
            environ = nameless.environ("/", headers, version=version, **where)
            assert environ["REQUEST_METHOD"] == "GET"
            assert environ["SERVER_NAME"]
            assert re.fullmatch(r"[1-9]\d*", environ["SERVER_PORT"])
            assert environ["SERVER_PROTOCOL"] == f"HTTP/{version}"
    assert nameless.environ("/", version="1.0")["SERVER_NAME"] == "127.0.0.1"
    assert nameless.environ("/", [("Host", "Example.org:81")])["SERVER_NAME"] == "example.org"
    assert nameless.environ("/")["SERVER_PORT"] == str(nameless.port)


def test_06_script_name_and_path_info_never_break_their_form(nginx, environ_app):
    server = nginx("""
        location / { wsgi_pass environ_app.py; }
        location /slash/ { wsgi_pass environ_app.py; }
        location /wsgi { wsgi_pass environ_app.py; }
        location = /exact { wsgi_pass environ_app.py; }
        location ~ ^/regex { wsgi_pass environ_app.py; }
        """)
    expected = {"/": ("", "/"), "/slash/": ("/slash", "/"), "/slash/a": ("/slash", "/a"), "/wsgi": ("/wsgi", ""),
                "/wsgi/": ("/wsgi", "/"), "/wsgi/a/b": ("/wsgi", "/a/b"), "/wsgix": ("", "/wsgix"),
                "/wsgix/y": ("", "/wsgix/y"), "/exact": ("", "/exact"), "/regex/1": ("", "/regex/1")}
    client = server.connect()
    for target, wanted in expected.items():
        environ = client.request("GET", target).json()
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == wanted, target
        assert environ["SCRIPT_NAME"] != "/"


def test_07_path_info_is_decoded_and_request_uri_is_raw(nginx, environ_app):
    server = nginx("location /app { wsgi_pass environ_app.py; }")
    environ = server.environ("/app/a%2Fb%20c%3Fd/%65?x=%2F&y=a%20b")
    assert environ["SCRIPT_NAME"] == "/app"
    assert environ["PATH_INFO"] == "/a/b c?d/e"
    assert environ["QUERY_STRING"] == "x=%2F&y=a%20b"
    assert environ["REQUEST_URI"] == "/app/a%2Fb%20c%3Fd/%65?x=%2F&y=a%20b"


def test_08_query_string_is_always_there(nginx, environ_app):
    client = nginx(ENVIRON).connect()
    for target, wanted in (("/", ""), ("/?", ""), ("/?a", "a"), ("/?a=1&b=2?c", "a=1&b=2?c"), ("/??", "?")):
        assert client.request("GET", target).json()["QUERY_STRING"] == wanted


def test_09_content_type_and_length_are_absent_without_a_body_and_never_http_keys(nginx, environ_app):
    client = nginx(ENVIRON).connect()
    none = client.request("GET", "/").json()
    assert "CONTENT_TYPE" not in none and "CONTENT_LENGTH" not in none
    both = client.request("POST", "/", [("Content-Type", "text/x; a=b")], b"12345").json()
    assert (both["CONTENT_TYPE"], both["CONTENT_LENGTH"], both["body"]) == ("text/x; a=b", "5", "12345")
    empty = client.request("POST", "/", body=b"").json()
    assert empty["CONTENT_LENGTH"] == "0" and "CONTENT_TYPE" not in empty
    for environ in (none, both, empty):
        assert "HTTP_CONTENT_TYPE" not in environ and "HTTP_CONTENT_LENGTH" not in environ


def test_10_header_keys_match_the_headers_sent(nginx, environ_app):
    server = nginx(ENVIRON)
    environ = server.environ("/", [("X-One", "1"), ("x-two", "a"), ("X-TWO", "b"), ("X-Two", ""), ("X-Empty", ""),
                                   ("Cookie", "a=1"), ("Cookie", "b=2"), ("X_Under", "no"), ("Proxy", "evil:1"),
                                   ("Accept", "text/html"), ("Accept", "*/*")])
    assert environ["HTTP_X_ONE"] == "1"
    assert environ["HTTP_X_TWO"] == "a, b, "
    assert environ["HTTP_X_EMPTY"] == ""
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_ACCEPT"] == "text/html, */*"
    sent = {"HTTP_HOST", "HTTP_CONNECTION", "HTTP_X_ONE", "HTTP_X_TWO", "HTTP_X_EMPTY", "HTTP_COOKIE", "HTTP_ACCEPT"}
    assert {key for key in environ if key.startswith("HTTP_")} == sent


def test_11_version_is_a_tuple_and_scheme_follows_the_connection(nginx):
    server = serve(nginx, """
        def at_keys(environ, start_response):
            version = environ["wsgi.version"]
            return answer(start_response, [type(version) is tuple, version, environ["wsgi.url_scheme"],
                                           all(type(part) is int for part in version)])
        """, tls=True)
    assert server.get("/keys").json() == [True, [1, 0], "http", True]
    assert server.get("/keys", tls=True).json() == [True, [1, 0], "https", True]


def test_12_tls_keys_are_there_only_under_tls(nginx, environ_app):
    server = nginx(ENVIRON, tls=True)
    secure = server.environ("/", tls=True)
    assert secure["HTTPS"] == "on"
    assert secure["SSL_PROTOCOL"].startswith("TLSv1.")
    assert secure["SSL_CIPHER"]
    assert secure["REQUEST_SCHEME"] == "https"
    plain = server.environ("/")
    assert plain["REQUEST_SCHEME"] == "http"
    assert not {"HTTPS", "SSL_PROTOCOL", "SSL_CIPHER"} & set(plain)


def test_13_the_deployer_can_configure_the_application(nginx):
    server = serve(nginx, """
        def at_env(environ, start_response):
            return answer(start_response, os.environ.get("SHOP_MODE"))

        def at_name(environ, start_response):
            return answer(start_response, [environ["SCRIPT_NAME"], environ["PATH_INFO"]])
        """, "location / { wsgi_pass app.py; } location /mount { wsgi_pass app.py; wsgi_script_name /mount; }",
        http="wsgi_env SHOP_MODE test;")
    assert server.get("/env").json() == "test"
    assert server.get("/mount/name").json() == ["/mount", "/name"]


def test_14_server_keys_are_lower_case_and_dotted_and_no_other_key_is_invented(nginx, environ_app):
    server = nginx(ENVIRON, tls=True, main="env LEAKED_KEY=1;", env={"LEAKED_KEY": "1", "HTTP_LEAKED": "1"})
    for options in ({}, {"tls": True}):
        environ = server.environ("/", [("X-A", "1")], "POST", b"x", **options)
        del environ["body"]
        for key in environ:
            # Two names of 2008 are older than this test.
            if key in ("ngx.WSGI_POLLIN", "ngx.WSGI_POLLOUT"):
                assert not THREADS
            elif "." in key:
                assert re.fullmatch(r"[a-z_-]+(\.[a-z_0-9]+)+", key), key
            else:
                assert key in KNOWN or key in ("HTTP_HOST", "HTTP_CONNECTION", "HTTP_X_A"), key
        dotted = {key for key in environ if key.startswith("wsgi.")}
        assert dotted == {"wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors", "wsgi.multithread",
                          "wsgi.multiprocess", "wsgi.run_once", "wsgi.input_terminated", "wsgi.file_wrapper",
                          *(() if THREADS else ("wsgi.pause_output",))}


def test_15_flags_are_true_bools_and_truthful(nginx):
    text = """
        def at_flags(environ, start_response):
            flags = [environ["wsgi." + name] for name in ("multithread", "multiprocess", "run_once")]
            assert all(type(flag) is bool for flag in flags)
            return answer(start_response, flags)
        """
    assert serve(nginx, text).get("/flags").json() == [bool(THREADS), False, False]
    assert serve(nginx, text, workers=2).get("/flags").json() == [bool(THREADS), True, False]
