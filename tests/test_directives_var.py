"""wsgi_var: entries of environ from the configuration, after everything that nginx and the client put there."""

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

NAME = "wsgi_var"
LOCATION = "location / { %s wsgi_pass environ_app.py; }"


def environ(nginx, directives, target="/", headers=(), **more):
    return nginx(LOCATION % directives).environ(target, headers, **more)


def test_plain_values(nginx, environ_app):
    seen = environ(nginx, 'wsgi_var APP_MODE production; wsgi_var greeting "hello, world"; wsgi_var with.dot 1;')
    assert (seen["APP_MODE"], seen["greeting"], seen["with.dot"]) == ("production", "hello, world", "1")


def test_names_differ_by_case(nginx, environ_app):
    seen = environ(nginx, "wsgi_var Name one; wsgi_var NAME two;")
    assert (seen["Name"], seen["NAME"]) == ("one", "two")


def test_variables_and_mixtures(nginx, environ_app):
    seen = environ(nginx, 'wsgi_var ONLY $request_method; wsgi_var MIX "<$arg_x-${arg_y}z>$uri";', "/a%20b?x=1&y=2")
    assert (seen["ONLY"], seen["MIX"]) == ("GET", "<1-2z>/a b")


def test_evaluated_for_each_request(nginx, environ_app):
    server = nginx(LOCATION % "wsgi_var ARG $arg_x; wsgi_var ID $request_id;")
    with server.connect() as client:
        seen = [client.request("GET", f"/?x={number}").json() for number in range(3)]
    assert [each["ARG"] for each in seen] == ["0", "1", "2"]
    assert len({each["ID"] for each in seen}) == 3


def test_variables_of_the_location_that_answers(nginx, environ_app):
    """After an internal redirect the directives of the last location count, with the values of that moment."""
    server = nginx("""
        location / { wsgi_var FIRST 1; error_page 418 /second/page; return 418; }
        location /second/ { wsgi_var SECOND $uri; wsgi_pass environ_app.py; }
    """)
    seen = server.request("GET", "/").json()
    assert "FIRST" not in seen
    assert seen["SECOND"] == "/second/page"


def test_set_in_the_configuration(nginx, environ_app):
    assert environ(nginx, "set $mine before; wsgi_var MINE $mine; set $mine after;")["MINE"] == "after"


def test_captures_of_the_location(nginx, environ_app):
    server = nginx("location ~ ^/(?<tenant>[a-z]+)/ { wsgi_var TENANT $tenant; wsgi_pass environ_app.py; }")
    assert server.environ("/red/x")["TENANT"] == "red"
    assert server.environ("/blue/x")["TENANT"] == "blue"


def test_overrides_request_headers(nginx, environ_app):
    seen = environ(nginx, "wsgi_var HTTP_X_TRUSTED configured; wsgi_var HTTP_COOKIE $http_cookie;"
                          "wsgi_var HTTP_USER_AGENT short; wsgi_var HTTP_X_NEW added;", headers=[
                              ("X-Trusted", "from the client"), ("X-Trusted", "twice"), ("Cookie", "a=1"),
                              ("Cookie", "b=2"), ("User-Agent", "something long"), ("X-Other", "kept")])
    assert seen["HTTP_X_TRUSTED"] == "configured"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert seen["HTTP_USER_AGENT"] == "short"
    assert seen["HTTP_X_NEW"] == "added"
    assert seen["HTTP_X_OTHER"] == "kept"


def test_overrides_what_the_module_sets(nginx, environ_app):
    seen = environ(nginx, "wsgi_var REMOTE_USER $arg_user; wsgi_var SERVER_NAME public.example;"
                          "wsgi_var CONTENT_TYPE text/x-mine; wsgi_var REQUEST_METHOD REPORT;", "/?user=ada",
                   method="POST", body=b"text")
    assert seen["REMOTE_USER"] == "ada"
    assert seen["SERVER_NAME"] == "public.example"
    assert seen["CONTENT_TYPE"] == "text/x-mine"
    assert seen["REQUEST_METHOD"] == "REPORT"
    assert seen["body"] == "text"


def test_url_scheme_behind_a_proxy(nginx, environ_app):
    server = nginx("wsgi_var wsgi.url_scheme $http_x_forwarded_proto if_not_empty; " + LOCATION % "")
    assert server.environ(headers=[("X-Forwarded-Proto", "https")])["wsgi.url_scheme"] == "https"


def test_authorization_where_one_header_is_wanted(nginx, environ_app):
    seen = environ(nginx, "wsgi_var HTTP_AUTHORIZATION $http_authorization;", headers=[
        ("Authorization", "Bearer token"), ("Proxy-Authorization", "Basic eDp5")])
    assert seen["HTTP_AUTHORIZATION"] == "Bearer token"
    assert "HTTP_PROXY_AUTHORIZATION" not in seen


def test_an_empty_value_is_an_entry(nginx, environ_app):
    seen = environ(nginx, 'wsgi_var EMPTY ""; wsgi_var NO_ARG $arg_x; wsgi_var HTTP_X_THING $arg_x;',
                   headers=[("X-Thing", "from the client")])
    assert (seen["EMPTY"], seen["NO_ARG"], seen["HTTP_X_THING"]) == ("", "", "")


@pytest.mark.parametrize("value, target, expected", [
    ("$arg_x", "/", None),
    ("$arg_x", "/?x=", None),
    ("$arg_x", "/?x=1", "1"),
    ('""', "/", None),
    ("constant", "/", "constant"),
    ("$arg_x$arg_y", "/", None),
    ("$arg_x$arg_y", "/?y=2", "2"),
    ("-$arg_x", "/", "-"),
])
def test_if_not_empty(nginx, environ_app, value, target, expected):
    assert environ(nginx, f"wsgi_var THING {value} if_not_empty;", target).get("THING") == expected


def test_if_not_empty_leaves_out_what_was_there(nginx, environ_app):
    """As uwsgi_param does it: the client's header of that name does not come through."""
    server = nginx(LOCATION % """
        wsgi_var HTTP_X_THING $arg_x if_not_empty;
        wsgi_var REMOTE_ADDR "" if_not_empty;
    """)
    headers = [("X-Thing", "from the client")]
    seen = server.environ("/", headers)
    assert "HTTP_X_THING" not in seen and "REMOTE_ADDR" not in seen
    assert server.environ("/?x=1", headers)["HTTP_X_THING"] == "1"


def test_inherited_one_by_one(nginx, environ_app):
    server = nginx("""
        wsgi_var B server;
        wsgi_var C server;
        location / { wsgi_var C location; wsgi_var D location; wsgi_pass environ_app.py; }
        location /other/ { wsgi_pass environ_app.py; }
        location /outer/ { wsgi_var D outer; location /outer/inner/ { wsgi_var E inner; wsgi_pass environ_app.py; } }
    """, http="wsgi_var A http; wsgi_var B http; wsgi_var C http;")

    def entries(target):
        seen = server.environ(target)
        return {key: seen[key] for key in "ABCDE" if key in seen}
    assert entries("/") == {"A": "http", "B": "server", "C": "location", "D": "location"}
    assert entries("/other/") == {"A": "http", "B": "server", "C": "server"}
    assert entries("/outer/inner/") == {"A": "http", "B": "server", "C": "server", "D": "outer", "E": "inner"}


def test_if_not_empty_is_inherited_with_its_value(nginx, environ_app):
    server = nginx("""
        wsgi_var A $arg_x if_not_empty;
        wsgi_var B $arg_x if_not_empty;
        wsgi_var C $arg_x;
        location / { wsgi_var B $arg_x; wsgi_var C $arg_x if_not_empty; wsgi_pass environ_app.py; }
    """)
    seen = server.environ("/")
    assert "A" not in seen and "C" not in seen
    assert seen["B"] == ""


def test_inherited_by_if_and_limit_except(nginx, environ_app):
    server = nginx("""
        location / {
            wsgi_var A location;
            wsgi_pass environ_app.py;
            if ($arg_x) { add_header X-If yes; }
            limit_except GET { allow all; }
        }
    """)
    assert server.environ("/?x=1")["A"] == "location"
    assert server.environ("/", method="POST", body=b"")["A"] == "location"


def test_values_are_bytes_as_latin_1(nginx, environ_app):
    server = nginx(LOCATION % 'wsgi_var TEXT "grün"; wsgi_var RAW $http_x_raw; wsgi_var DECODED $uri;')
    seen = server.environ("/%E4%FF", [("X-Raw", "\xe4\xff\x80")])
    assert seen["TEXT"] == "grün".encode().decode("latin-1")
    assert seen["RAW"] == "\xe4\xff\x80"
    assert seen["DECODED"] == "/\xe4\xff"


def test_a_long_value(nginx, environ_app):
    seen = environ(nginx, 'wsgi_var LONG "$arg_x$arg_x$arg_x";', "/?x=" + "y" * 3000)
    assert seen["LONG"] == "y" * 9000


def test_many(nginx, environ_app):
    seen = environ(nginx, " ".join(f"wsgi_var V{number} {number};" for number in range(200)))
    assert [seen[f"V{number}"] for number in range(200)] == [str(number) for number in range(200)]


def test_reload_forgets(nginx, environ_app):
    server = nginx(LOCATION % "wsgi_var A 1; wsgi_var B 1;")
    assert server.environ("/")["A"] == "1"
    server.hup(server=LOCATION % "wsgi_var B 2;")
    seen = server.environ("/")
    assert "A" not in seen and seen["B"] == "2"


def test_http2(nginx, environ_app):
    server = nginx(LOCATION % "wsgi_var ARG $arg_x; wsgi_var HTTP_X_TRUSTED configured;", h2c=True)
    seen = server.h2().request("GET", "/?x=1", [("x-trusted", "from the client")]).json()
    assert (seen["ARG"], seen["HTTP_X_TRUSTED"]) == ("1", "configured")


@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_accepted_level(nginx, environ_app, level):
    directive = "wsgi_var A $arg_x if_not_empty; wsgi_var wsgi.url_scheme https;"
    accepts(nginx((directive if level == "server" else "") + LOCATION % (directive if level == "location" else ""),
                  http=directive if level == "http" else "", start=False))


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: "wsgi_var A 1;"}), NAME, not_allowed(NAME))


def test_refused_in_if(nginx, environ_app):
    server = nginx("location / { if ($arg_x) { wsgi_var A 1; } }", start=False)
    refuses(server, NAME, not_allowed(NAME))


@pytest.mark.parametrize("directive, said", [
    ("wsgi_var;", wrong_count(NAME)),
    ("wsgi_var A;", wrong_count(NAME)),
    ("wsgi_var A b if_not_empty c;", wrong_count(NAME)),
    ('wsgi_var "" value;', 'invalid name "" in "wsgi_var"'),
    ("wsgi_var A b if_empty;", 'invalid parameter "if_empty" in "wsgi_var"'),
    ('wsgi_var A b "";', 'invalid parameter "" in "wsgi_var"'),
    ("wsgi_var A b IF_NOT_EMPTY;", 'invalid parameter "IF_NOT_EMPTY" in "wsgi_var"'),
    ("wsgi_var wsgi.input x;", '"wsgi.input" in "wsgi_var" belongs to the module'),
    ("wsgi_var wsgi.errors x;", '"wsgi.errors" in "wsgi_var" belongs to the module'),
    ("wsgi_var wsgi.multithread x;", '"wsgi.multithread" in "wsgi_var" belongs to the module'),
    ("wsgi_var wsgi.of_the_future x;", '"wsgi.of_the_future" in "wsgi_var" belongs to the module'),
    ("wsgi_var ngx.request x;", '"ngx.request" in "wsgi_var" belongs to the module'),
])
@pytest.mark.parametrize("level", ["server", "location"])
def test_refused(nginx, environ_app, directive, said, level):
    text = f"\n{directive}\n"
    server = nginx(text if level == "server" else LOCATION % text, start=False)
    refuses(server, directive, said)


@pytest.mark.parametrize("level", ["server", "location"])
def test_duplicate_name(nginx, environ_app, level):
    text = "\nwsgi_var A one;\nwsgi_var B one;\nwsgi_var A two if_not_empty;\n"
    server = nginx(text if level == "server" else LOCATION % text, start=False)
    refuses(server, "wsgi_var A two", 'duplicate name "A" in "wsgi_var"')


def test_duplicate_name_in_http(nginx):
    refuses(nginx(http="wsgi_var A one;\nwsgi_var A two;\n", start=False), "wsgi_var A two",
            'duplicate name "A" in "wsgi_var"')


def test_the_same_name_on_different_levels_is_no_duplicate(nginx, environ_app):
    accepts(nginx("wsgi_var A two;" + LOCATION % "wsgi_var A three;", http="wsgi_var A one;", start=False))


def test_several_directives_are_no_duplicates_of_the_directive(nginx, environ_app):
    _, output = nginx(LOCATION % "wsgi_var A 1; wsgi_var B 2;", start=False).test_config()
    assert duplicate(NAME) not in output and "successful" in output


def test_unknown_variable(nginx, environ_app):
    # nginx itself names the place of the end of the configuration here.
    accepted, output = nginx(LOCATION % "wsgi_var A $no_such_variable;", start=False).test_config()
    assert not accepted and 'unknown "no_such_variable" variable' in output
