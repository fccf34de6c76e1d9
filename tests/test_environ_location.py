"""SCRIPT_NAME and PATH_INFO in every kind of location, and after nginx changed the URI."""

import pytest


def split(server, target, **more):
    environ = server.environ(target, **more)
    return environ["SCRIPT_NAME"], environ["PATH_INFO"]


def test_prefix_locations(nginx, environ_app):
    server = nginx("""
        location /a { wsgi_pass environ_app.py; }
        location /b/ { wsgi_pass environ_app.py; }
        location ^~ /c { wsgi_pass environ_app.py; }
        location ^~ /d/e/ { wsgi_pass environ_app.py; }
        location / { wsgi_pass environ_app.py; }
        """)
    for target, wanted in {
            "/a": ("/a", ""), "/a/": ("/a", "/"), "/a/x": ("/a", "/x"), "/ax": ("", "/ax"), "/ax/y": ("", "/ax/y"),
            "/b/": ("/b", "/"), "/b/x": ("/b", "/x"), "/b/x/": ("/b", "/x/"), "/bx": ("", "/bx"),
            "/c": ("/c", ""), "/c/x": ("/c", "/x"), "/cx": ("", "/cx"),
            "/d/e/": ("/d/e", "/"), "/d/e/f": ("/d/e", "/f"), "/d": ("", "/d"),
            "/": ("", "/"), "/x/y": ("", "/x/y"), "/a?q=/b": ("/a", ""), "/A/x": ("", "/A/x")}.items():
        assert split(server, target) == wanted, target


def test_a_location_with_a_slash_redirects_its_name_without(nginx, environ_app):
    server = nginx("location /b/ { wsgi_pass environ_app.py; }")
    answer = server.get("/b?q=1")
    assert answer.status == 301
    assert answer.header("Location") == f"http://localhost:{server.port}/b/?q=1"
    assert server.get("/bx").status == 404


def test_exact_regex_and_nested_locations(nginx, environ_app):
    server = nginx(r"""
        location = /exact { wsgi_pass environ_app.py; }
        location ~ ^/re/(\w+) { wsgi_pass environ_app.py; }
        location ~* \.PY$ { wsgi_pass environ_app.py; }
        location /outer {
            location /outer/inner { wsgi_pass environ_app.py; }
            location = /outer/exact { wsgi_pass environ_app.py; }
            location ~ /outer/re { wsgi_pass environ_app.py; }
            wsgi_pass environ_app.py;
        }
        """)
    for target, wanted in {
            "/exact": ("", "/exact"), "/re/abc/d": ("", "/re/abc/d"), "/x/y.py": ("", "/x/y.py"),
            "/outer": ("/outer", ""), "/outer/x": ("/outer", "/x"), "/outer/inner/x": ("/outer/inner", "/x"),
            "/outer/innerx": ("", "/outer/innerx"), "/outer/exact": ("", "/outer/exact"),
            "/outer/rex": ("", "/outer/rex")}.items():
        assert split(server, target) == wanted, target


def test_if_and_limit_except(nginx, environ_app, app):
    app("""
def application(environ, start_response):
    start_response("299 Other", [("X-Split", environ["SCRIPT_NAME"] + "|" + environ["PATH_INFO"])])
    return [b"other"]
""", "other.py")
    server = nginx("""
        location /p {
            wsgi_pass environ_app.py;
            if ($arg_other) { wsgi_pass other.py; }
            limit_except GET { wsgi_pass other.py; }
        }
        location ~ ^/r/ {
            wsgi_pass environ_app.py;
            if ($arg_other) { wsgi_pass other.py; }
            limit_except GET { wsgi_pass other.py; }
        }
        location = /e {
            wsgi_pass environ_app.py;
            if ($arg_other) { wsgi_pass other.py; }
        }
        """)
    assert split(server, "/p/x") == ("/p", "/x")
    assert split(server, "/r/x") == ("", "/r/x")
    for method, target, wanted in (("GET", "/p/x?other=1", "/p|/x"), ("GET", "/r/x?other=1", "|/r/x"),
                                   ("POST", "/p/x", "/p|/x"), ("DELETE", "/r/x", "|/r/x"),
                                   ("GET", "/e?other=1", "|/e")):
        answer = server.request(method, target)
        assert (answer.status, answer.header("X-Split")) == (299, wanted), (method, target)


def test_an_if_without_wsgi_pass_keeps_the_application(nginx, environ_app):
    server = nginx("""
        location /p { wsgi_pass environ_app.py; if ($arg_x) { add_header X-If yes; } }
        location ~ ^/r { wsgi_pass environ_app.py; if ($arg_x) { add_header X-If yes; } }
        """)
    for target, wanted in (("/p/a?x=1", ("/p", "/a")), ("/r/a?x=1", ("", "/r/a"))):
        answer = server.get(target)
        assert answer.header("X-If") == "yes"
        environ = answer.json()
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == wanted


def test_rewrite_and_internal_redirects(nginx, environ_app):
    server = nginx(r"""
        location /old/ { rewrite ^/old/(.*)$ /new/$1?added=1 last; }
        location /new/ { wsgi_pass environ_app.py; }
        location /break/ { rewrite ^/break/(.*)$ /other/$1 break; wsgi_pass environ_app.py; }
        location /same/ { rewrite ^/same/x/(.*)$ /same/$1 break; wsgi_pass environ_app.py; }
        location /try { try_files /nothing /new/tried?by=try; }
        location /missing { return 404; error_page 404 = /new/error?from=$uri; }
        location /named { error_page 404 = @named; return 404; }
        location @named { wsgi_pass environ_app.py; }
        location /named_try { try_files /nothing @named; }
        """)
    for target, wanted, query in (
            ("/old/a/b?q=1", ("/new", "/a/b"), "added=1&q=1"),
            ("/same/x/y", ("/same", "/y"), ""),
            ("/try/x?q", ("/new", "/tried"), "by=try"),
            ("/missing/x", ("/new", "/error"), "from=/missing/x"),
            ("/named/x?q=2", ("", "/named/x"), "q=2"),
            ("/named_try/y?q=3", ("", "/named_try/y"), "q=3")):
        environ = server.environ(target)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == wanted, target
        assert environ["QUERY_STRING"] == query, target
        # What the client asked for stays visible.
        assert environ["REQUEST_URI"] == target
    # The location's name is no longer where the URI begins: nothing may be cut off that is not there.
    assert split(server, "/break/z") == ("", "/other/z")


def test_error_page_to_an_application_gets_get_and_no_body(nginx, environ_app):
    server = nginx("""
        error_page 413 /sorry/413;
        client_max_body_size 10;
        location / { wsgi_pass environ_app.py; }
        location /sorry { wsgi_pass environ_app.py; internal; }
        """)
    answer = server.post("/x", b"y" * 100)
    assert answer.status == 413
    environ = answer.json()
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/sorry", "/413")
    assert environ["REQUEST_METHOD"] == "GET"
    assert server.get("/sorry/413").status == 404


def test_wsgi_script_name_wins(nginx, environ_app):
    server = nginx(r"""
        location ~ ^/re/(?<tail>\w+) { wsgi_pass environ_app.py; wsgi_script_name /re/$tail; }
        location /p { wsgi_pass environ_app.py; wsgi_script_name ""; }
        location /slash/ { wsgi_pass environ_app.py; wsgi_script_name /slash/; }
        location /else { wsgi_pass environ_app.py; wsgi_script_name /mounted; }
        location @named { wsgi_pass environ_app.py; wsgi_script_name /n; }
        location /n/ { try_files /nothing @named; }
        """)
    for target, wanted in {"/re/abc/d": ("/re/abc", "/d"), "/re/abc": ("/re/abc", ""), "/p/x": ("", "/p/x"),
                           "/slash/x": ("/slash", "/x"), "/else/x": ("/mounted", "/else/x"),
                           "/n/x": ("/n", "/x")}.items():
        assert split(server, target) == wanted, target


@pytest.mark.parametrize("merge", ["on", "off"])
def test_decoding_and_normalisation(nginx, environ_app, merge):
    server = nginx(f"merge_slashes {merge}; location /app {{ wsgi_pass environ_app.py; }}")
    merged = merge == "on"
    for target, wanted in {
            "/app/%41%2Fb": ("/app", "/A/b"), "/app/./x/../y": ("/app", "/y"), "/%61pp/x": ("/app", "/x"),
            "/app/x%20y+z": ("/app", "/x y+z"), "/app/%25zz": ("/app", "/%zz"), "/app/%C3%A9": ("/app", "/\xc3\xa9"),
            "/app/\xe9": ("/app", "/\xe9"), "/app/%3Fnot=query": ("/app", "/?not=query"), "/app/%23": ("/app", "/#"),
            "/app//x": ("/app", "/x" if merged else "//x"), "/app/x//": ("/app", "/x/" if merged else "/x//"),
            "/app%2Fx": ("/app", "/x"), "/app/x#fragment": ("/app", "/x")}.items():
        assert split(server, target) == wanted, target
    assert server.get("/app/%00").status == 400
    assert server.get("/app/../../etc").status == 400


def test_script_name_and_path_info_make_up_the_uri(nginx, environ_app):
    server = nginx("""
        location /a/ { wsgi_pass environ_app.py; }
        location /b { wsgi_pass environ_app.py; }
        location / { wsgi_pass environ_app.py; }
        """)
    client = server.connect()
    for target in ("/a/", "/a/b/c", "/b", "/bb", "/b/", "/", "/x/y/", "/a/a/", "/b/b"):
        environ = client.request("GET", target).json()
        assert environ["SCRIPT_NAME"] + environ["PATH_INFO"] == target
        assert environ["PATH_INFO"] == "" or environ["PATH_INFO"].startswith("/")


def test_a_rewritten_uri_without_a_slash_is_refused(nginx, environ_app):
    """PATH_INFO begins with a slash or is empty."""
    server = nginx("location / { rewrite ^ elsewhere break; wsgi_pass environ_app.py; }")
    assert server.get("/").status == 500
    server.wait_for_log('the rewritten URI "elsewhere" does not begin with "/"')
