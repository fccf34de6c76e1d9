"""wsgi_script_name: the mount point where the location does not say it."""

import re

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count


def split(server, target, **more):
    environ = server.environ(target, **more)
    return environ["SCRIPT_NAME"], environ["PATH_INFO"]


def test_regex_location(nginx, environ_app):
    server = nginx("location ~ ^/app { wsgi_script_name /app; wsgi_pass environ_app.py; }")
    assert split(server, "/app/x/y") == ("/app", "/x/y")
    assert split(server, "/app") == ("/app", "")
    assert split(server, "/application") == ("/app", "/application"), "the name ends at a slash or it does not match"


def test_named_location(nginx, environ_app):
    server = nginx("""
        location / { root %%FOLDER%%/static; try_files $uri @app; }
        location @app { wsgi_script_name /shop; wsgi_pass environ_app.py; }
    """)
    assert split(server, "/shop/cart") == ("/shop", "/cart")
    assert split(server, "/else") == ("/shop", "/else"), "a rewritten URI: where the application begins, and all of it"


def test_variable(nginx, environ_app):
    server = nginx("location ~ ^(/tenant/[a-z]+) { wsgi_script_name $1; wsgi_pass environ_app.py; }")
    assert split(server, "/tenant/red/page") == ("/tenant/red", "/page")
    assert split(server, "/tenant/blue") == ("/tenant/blue", "")


def test_variable_of_a_header(nginx, environ_app):
    server = nginx("location / { wsgi_script_name $http_x_prefix; wsgi_pass environ_app.py; }")
    assert split(server, "/a/b") == ("", "/a/b")
    assert split(server, "/a/b", headers=[("X-Prefix", "/a")]) == ("/a", "/b")
    assert split(server, "/a/b", headers=[("X-Prefix", "/a/")]) == ("/a", "/b")
    assert split(server, "/a/b", headers=[("X-Prefix", "/")]) == ("", "/a/b")
    assert split(server, "/a/b", headers=[("X-Prefix", "/a/b/c")]) == ("/a/b/c", "/a/b")
    assert split(server, "/a/b", headers=[("X-Prefix", "//")]) == ("", "/a/b")
    # An environ with such a SCRIPT_NAME would be invalid: the application does not run.
    assert server.get("/a/b", [("X-Prefix", "a")]).status == 500
    server.wait_for_log(r'\[error\].*wsgi: .*wsgi_script_name "a" does not begin with "/", client: ')


def test_wins_over_the_prefix(nginx, environ_app):
    server = nginx("location /outer/inner/ { wsgi_script_name /outer; wsgi_pass environ_app.py; }")
    assert split(server, "/outer/inner/x") == ("/outer", "/inner/x")


def test_empty_means_root(nginx, environ_app):
    server = nginx('location /app/ { wsgi_script_name ""; wsgi_pass environ_app.py; }')
    assert split(server, "/app/x") == ("", "/app/x")


def test_trailing_slash_is_stripped(nginx, environ_app):
    server = nginx("location ~ ^/app { wsgi_script_name /app/; wsgi_pass environ_app.py; }")
    assert split(server, "/app/x") == ("/app", "/x")


def test_decoded_uri_is_compared(nginx, environ_app):
    server = nginx("location ~ . { wsgi_script_name /grün; wsgi_pass environ_app.py; }")
    expected = "/grün".encode().decode("latin-1")
    assert split(server, "/gr%C3%BCn/x") == (expected, "/x")


def test_inheritance(nginx, environ_app):
    server = nginx("""
        wsgi_script_name /one;
        location ~ ^/one { wsgi_pass environ_app.py; }
        location ~ ^/two { wsgi_script_name /two; wsgi_pass environ_app.py; }
    """, http="wsgi_script_name /zero;")
    assert split(server, "/one/x") == ("/one", "/x")
    assert split(server, "/two/x") == ("/two", "/x")


def test_inherited_by_if(nginx, environ_app):
    server = nginx("""
        location ~ ^/one {
            wsgi_script_name /one;
            wsgi_pass environ_app.py;
            if ($arg_x) { add_header X-If yes; }
        }
    """)
    assert split(server, "/one/x?x=1") == ("/one", "/x")


@pytest.mark.parametrize("directive, said", [
    ("wsgi_script_name;", re.escape(wrong_count("wsgi_script_name"))),
    ("wsgi_script_name /a /b;", re.escape(wrong_count("wsgi_script_name"))),
    ("wsgi_script_name app;", r'wsgi_script_name "app" does not begin with "/"'),
    ("wsgi_script_name app/x;", r'.*"app/x".*'),
    ("wsgi_script_name $no_such_variable;", r'unknown "no_such_variable" variable'),
])
def test_refused(nginx, directive, said):
    server = nginx(f"\n{directive}\n", start=False)
    if "variable" in said:
        # nginx itself names the place of the end of the configuration here.
        accepted, output = server.test_config()
        assert not accepted and 'unknown "no_such_variable" variable' in output
    else:
        refuses(server, directive, re.compile(said))


def test_duplicate(nginx):
    refuses(nginx("wsgi_script_name /a;\nwsgi_script_name /b;", start=False), "wsgi_script_name /b;",
            duplicate("wsgi_script_name"))


@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_accepted_level(nginx, app, level):
    app("")
    directive = "wsgi_script_name /a;"
    accepts(nginx((directive if level == "server" else "")
                  + "location / { %s wsgi_pass app.py; }" % (directive if level == "location" else ""),
                  http=directive if level == "http" else "", start=False))


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: "wsgi_script_name /a;"}), "wsgi_script_name", not_allowed("wsgi_script_name"))
