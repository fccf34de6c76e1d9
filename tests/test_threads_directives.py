"""wsgi_threads, wsgi_thread_pool, wsgi_request_buffering: what is accepted, and what is refused where."""

import re

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

THREADS, POOL = "wsgi_threads", "wsgi_thread_pool"
PASS = "location / { wsgi_pass app.py; }"


def conflict(new, old):
    return re.compile(re.escape(f'"{THREADS} {new}" conflicts with "{THREADS} {old}" of ') + r"\S+/nginx.conf:\d+"
                      + re.escape('; an application has one pool of threads, or a "wsgi_thread_pool"'))


@pytest.mark.parametrize("text", [
    "wsgi_threads 0;", "wsgi_threads 1;", "wsgi_threads 1024;", "wsgi_threads 4 queue=0;",
    "wsgi_threads 4 queue=1000000;", "wsgi_threads 4 queue=16;"])
@pytest.mark.parametrize("where", ["http", "server", "location"])
def test_accepted(nginx, app, text, where):
    app("")
    parts = {"http": {"http": text, "server": PASS}, "server": {"server": text + PASS},
             "location": {"server": PASS.replace("{", "{ " + text)}}[where]
    accepts(nginx(start=False, **parts))


@pytest.mark.parametrize("http", [
    "wsgi_thread_pool shop threads=4; wsgi_threads shop;",
    "wsgi_threads shop; wsgi_thread_pool shop threads=4 queue=0;",
    "wsgi_thread_pool shop queue=5 threads=4;",
    "wsgi_thread_pool a threads=1; wsgi_thread_pool b-2_c threads=1024 queue=1000000; wsgi_threads b-2_c;",
])
def test_pools_accepted(nginx, app, http):
    app("")
    accepts(nginx(PASS, http=http, start=False))


def test_inner_levels_win(nginx, app):
    app("")
    app("", "other.py")
    app("", "third.py")
    accepts(nginx("wsgi_threads pool; location / { wsgi_pass app.py; } "
                  "location /o { wsgi_threads 0; wsgi_pass other.py; } "
                  "location /t { wsgi_threads 7 queue=7; wsgi_pass third.py; location /t/t { wsgi_pass third.py; } }",
                  http="wsgi_threads 3; wsgi_thread_pool pool threads=2;", start=False))


@pytest.mark.parametrize("value", ["-1", "1025", "99999999999999999999", "1.5", "4x", "0x4", '""', "007x"])
def test_wrong_numbers_of_threads(nginx, app, value):
    app("")
    for text in (f"wsgi_threads {value};", f"wsgi_thread_pool p threads={value};"):
        said = refuses(nginx(PASS, http=f"\n{text}\n", start=False), text, re.compile(".+"))
        assert THREADS in said or POOL in said, said


@pytest.mark.parametrize("value", ["queue=-1", "queue=1000001", "queue=", "queue=x", "queue=1k", "queue", "Queue=1",
                                   "que=1", "5", '""'])
def test_wrong_queues(nginx, app, value):
    app("")
    for text in (f"wsgi_threads 4 {value};", f"wsgi_thread_pool p threads=4 {value};"):
        said = refuses(nginx(PASS, http=f"\n{text}\n", start=False), text, re.compile(".+"))
        assert THREADS in said or POOL in said, said


@pytest.mark.parametrize("text, message", [
    ("wsgi_threads;", wrong_count(THREADS)),
    ("wsgi_threads 1 queue=2 3;", wrong_count(THREADS)),
    ("wsgi_thread_pool;", wrong_count(POOL)),
    ("wsgi_thread_pool p;", wrong_count(POOL)),
    ("wsgi_thread_pool p threads=1 queue=1 more;", wrong_count(POOL)),
])
def test_wrong_counts(nginx, app, text, message):
    app("")
    refuses(nginx(PASS, http=f"\n{text}\n", start=False), text, message)


@pytest.mark.parametrize("text", [
    "wsgi_thread_pool p queue=4;", "wsgi_thread_pool p threads=0;", "wsgi_thread_pool 4p threads=4;",
    "wsgi_thread_pool p threads=4 threads=5;", "wsgi_thread_pool p threads=4 size=5;",
    'wsgi_thread_pool "" threads=4;'])
def test_wrong_pools(nginx, app, text):
    app("")
    said = refuses(nginx(PASS, http=f"\n{text}\n", start=False), text, re.compile(".+"))
    assert POOL in said or "invalid number of arguments" in said


@pytest.mark.parametrize("place", ["http", "server", "location"])
def test_an_unknown_pool(nginx, app, place):
    app("")
    text = "wsgi_threads shop;"
    parts = {"http": {"http": f"\n{text}\n", "server": PASS}, "server": {"server": f"\n{text}\n{PASS}"},
             "location": {"server": f"location / {{ wsgi_pass app.py;\n{text}\n }}"}}[place]
    refuses(nginx(start=False, **parts), text, f'unknown "{POOL}" "shop"')


def test_a_pool_twice(nginx, app):
    app("")
    refuses(nginx(PASS, http=f"{POOL} p threads=1;\n{POOL} p threads=1 queue=2;\n", start=False),
            f"{POOL} p threads=1 queue=2;", re.compile(f'duplicate "{POOL}" "p", the first one is that of \\S+/nginx.conf:\\d+'))


def test_a_queue_belongs_to_the_pool(nginx, app):
    app("")
    text = "wsgi_threads p queue=5;"
    refuses(nginx(PASS, http=f"{POOL} p threads=1;\n{text}\n", start=False), text, f'"queue" belongs to "{POOL}"')


@pytest.mark.parametrize("name, text", [(THREADS, f"{THREADS} 5;"), (THREADS, f"{THREADS} p;"),
                                        ("wsgi_request_buffering", "wsgi_request_buffering off;"),
                                        ("wsgi_queue_timeout", "wsgi_queue_timeout 3s;")])
def test_twice_on_one_level(nginx, app, name, text):
    app("")
    first = text.replace("5", "4").replace("off", "on").replace("3s", "2s").replace(" p", " 3")
    refuses(nginx(f"{first}\n{text}\n{PASS}", http=f"{POOL} p threads=1; {THREADS} 3;", start=False), text,
            duplicate(name))


@pytest.mark.parametrize("place", ["main", "events"])
@pytest.mark.parametrize("text", [f"{THREADS} 1;", f"{POOL} p threads=1;", "wsgi_request_buffering on;",
                                  "wsgi_queue_timeout 1s;"])
def test_wrong_levels(nginx, place, text):
    refuses(nginx(start=False, **{place: text}), text, not_allowed(text.split()[0]))


@pytest.mark.parametrize("place", ["server", "location"])
def test_pools_belong_to_http(nginx, place):
    text = f"{POOL} p threads=1;"
    config = text if place == "server" else f"location / {{\n{text}\n}}"
    refuses(nginx(config, start=False), text, not_allowed(POOL))


def test_not_in_an_if(nginx, app):
    app("")
    text = f"{THREADS} 1;"
    refuses(nginx(f"location / {{ wsgi_pass app.py; if ($arg_a) {{\n{text}\n}} }}", start=False), text,
            not_allowed(THREADS))


@pytest.mark.parametrize("first, second", [
    ("4", "8"), ("4", "4 queue=5"), ("4 queue=5", "4 queue=6"), ("8", "4")])
def test_one_application_has_one_pool(nginx, app, first, second):
    app("")
    text = f"{THREADS} {second};"
    server = nginx(f"location / {{ {THREADS} {first}; wsgi_pass app.py; }}\n"
                   f"location /b {{\n{text}\nwsgi_pass app.py; }}", start=False)
    refuses(server, text, conflict(second, first))


def test_one_application_may_say_the_same_twice(nginx, app):
    app("")
    app("", "other.py")
    accepts(nginx(f"""
        location / {{ {THREADS} 4 queue=9; wsgi_pass app.py; }}
        location /b {{ {THREADS} 4 queue=9; wsgi_pass app.py; }}
        location /c {{ {THREADS} 5; wsgi_pass other.py; }}
        location /d {{ {THREADS} 5 queue=1024; wsgi_pass other.py; }}
    """, start=False))


def test_one_application_in_several_interpreters_has_several_pools(nginx, app):
    app("")
    accepts(nginx(f"""
        location / {{ {THREADS} 4; wsgi_pass app.py; wsgi_interpreter one; }}
        location /b {{ {THREADS} 8; wsgi_pass app.py; wsgi_interpreter two; }}
    """, http="wsgi_enable_subinterpreters on;", start=False))


def test_named_pools_and_inline_for_one_application(nginx, app):
    app("")
    accepts(nginx(f"""
        location / {{ {THREADS} p; wsgi_pass app.py; }}
        location /b {{ {THREADS} q; wsgi_pass app.py; }}
    """, http=f"{POOL} p threads=1; {POOL} q threads=2;", start=False))


@pytest.mark.parametrize("place", ["http", "location"])
def test_unbuffered_input_needs_threads(nginx, app, place):
    app("")
    text = "wsgi_request_buffering off;"
    config = f"location / {{\n{text if place == 'location' else ''}\nwsgi_pass app.py; wsgi_threads 0; }}"
    server = nginx(config, http=f"\n{text}\n" if place == "http" else "", start=False)
    refuses(server, text, '"wsgi_request_buffering off" needs "wsgi_threads"')


def test_unbuffered_input_where_it_may_be(nginx, app):
    """Only a location with an application is looked at."""
    app("")
    text = "wsgi_request_buffering off;"
    accepts(nginx(f"{text} location /a {{ {text} }} location / {{ {THREADS} 2; {text} wsgi_pass app.py; }}",
                  start=False))
