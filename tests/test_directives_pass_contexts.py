"""wsgi_pass: where it may stand, and who inherits it."""

NAMED = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%s"]
"""


def named(*names):
    return {f"{name}.py": NAMED % name for name in names}


def test_location_kinds(nginx):
    server = nginx("""
        location / { wsgi_pass prefix.py; }
        location = /exact { wsgi_pass exact.py; }
        location ^~ /strong/ { wsgi_pass strong.py; }
        location ~ \\.rx$ { wsgi_pass regex.py; }
        location /named/ { error_page 418 = @named; return 418; }
        location @named { wsgi_pass named.py; }
        location /outer/ { wsgi_pass outer.py;
            location /outer/inner/ { wsgi_pass inner.py; }
        }
    """, apps=named("prefix", "exact", "strong", "regex", "named", "outer", "inner"))
    for target, answer in {"/": "prefix", "/exact": "exact", "/strong/x.rx": "strong", "/a.rx": "regex",
                           "/named/x": "named", "/outer/": "outer", "/outer/inner/": "inner"}.items():
        assert server.get(target).text == answer


def test_if_in_location(nginx):
    server = nginx("""
        location / {
            wsgi_pass outer.py;
            if ($arg_x) { wsgi_pass inner.py; }
        }
        location /only/ {
            if ($arg_x) { wsgi_pass inner.py; }
        }
    """, apps=named("outer", "inner"))
    assert server.get("/").text == "outer"
    assert server.get("/?x=1").text == "inner"
    assert server.get("/only/?x=1").text == "inner"
    assert server.get("/only/").status == 404


def test_if_inherits(nginx):
    """An `if` without a handler of its own keeps the location's application, as with proxy_pass."""
    server = nginx("""
        location / {
            wsgi_pass outer.py;
            if ($arg_x) { add_header X-If yes; }
        }
    """, apps=named("outer"))
    answer = server.get("/?x=1")
    assert (answer.text, answer.header("X-If")) == ("outer", "yes")
    assert server.get("/").header("X-If") is None


def test_limit_except(nginx):
    server = nginx("""
        location / {
            wsgi_pass outer.py;
            limit_except GET { wsgi_pass inner.py; }
        }
        location /denied/ {
            wsgi_pass outer.py;
            limit_except GET { deny all; }
        }
        location /inherited/ {
            wsgi_pass outer.py;
            limit_except GET { allow all; }
        }
    """, apps=named("outer", "inner"))
    assert server.get("/").text == "outer"
    assert server.request("HEAD", "/").status == 200
    assert server.post("/").text == "inner"
    assert server.get("/denied/").text == "outer"
    assert server.post("/denied/").status == 403
    assert server.post("/inherited/").text == "outer"


def test_nested_location_does_not_inherit(nginx):
    """A handler belongs to its location, as with every nginx handler."""
    server = nginx("location / { wsgi_pass outer.py; location /static/ { root %%FOLDER%%; } }",
                   apps={**named("outer"), "static/file.txt": "static"})
    assert server.get("/static/file.txt").text == "static"
    assert server.get("/static/nothing").status == 404


def test_two_servers(nginx):
    server = nginx("location / { wsgi_pass one.py; }", servers="""
        server { listen 127.0.0.1:%%PORT%%; server_name other; location / { wsgi_pass two.py; } }
    """, apps=named("one", "two"))
    assert server.get("/").text == "one"
    assert server.get("/", [("Host", "other")]).text == "two"


def test_trailing_slash_redirect(nginx):
    """`location /app/` asked for as `/app`: nginx's redirect, as uwsgi_pass does it."""
    server = nginx("location /app/ { wsgi_pass one.py; }", apps=named("one"))
    answer = server.get("/app")
    assert answer.status == 301
    assert answer.header("Location").endswith("/app/")
