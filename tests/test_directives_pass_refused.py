"""wsgi_pass: what is refused, with which words, and at which line."""

import re
import subprocess

import pytest

from harness.conf import duplicate, not_allowed, refuses, wrong_count


def check(nginx, folder, directive, message):
    (folder / "app.py").write_text("")
    (folder / "app").write_text("")
    (folder / "directory.py").mkdir()
    server = nginx(f"""
        location / {{
            {directive}
        }}
    """, start=False)
    refuses(server, directive, message)


@pytest.mark.parametrize("directive, message", [
    ("wsgi_pass;", wrong_count("wsgi_pass")),
    ("wsgi_pass app.py one two;", wrong_count("wsgi_pass")),
    ("wsgi_pass nothing.py;", 'script "%%FOLDER%%/nothing.py" of "wsgi_pass" does not exist'),
    ("wsgi_pass %%FOLDER%%/nothing.py;", 'script "%%FOLDER%%/nothing.py" of "wsgi_pass" does not exist'),
    ("wsgi_pass %%FOLDER%%/nothing:app;", 'script "%%FOLDER%%/nothing" of "wsgi_pass" does not exist'),
    ("wsgi_pass app.py/more;", re.compile(r'script ".*/app\.py/more" of "wsgi_pass".*')),
    ("wsgi_pass directory.py;", '"%%FOLDER%%/directory.py" of "wsgi_pass" is a directory, a script is expected'),
    ("wsgi_pass %%FOLDER%%/;", re.compile(r'"\S+/" of "wsgi_pass" is a directory, a script is expected')),
    ("wsgi_pass app.py:1app;", 'invalid callable "1app" in "wsgi_pass"'),
    ("wsgi_pass app.py 1app;", 'invalid callable "1app" in "wsgi_pass"'),
    ("wsgi_pass app.py:;", 'invalid callable "" in "wsgi_pass"'),
    ('wsgi_pass app.py "";', 'invalid callable "" in "wsgi_pass"'),
    ("wsgi_pass app.py:a..b;", 'invalid callable "a..b" in "wsgi_pass"'),
    ("wsgi_pass app.py:.a;", 'invalid callable ".a" in "wsgi_pass"'),
    ("wsgi_pass app.py:a-b;", 'invalid callable "a-b" in "wsgi_pass"'),
    ("wsgi_pass app.py:a(;", 'invalid callable "a(" in "wsgi_pass"'),
    ("wsgi_pass app.py:();", 'invalid callable "()" in "wsgi_pass"'),
    ("wsgi_pass app.py:a(1);", 'invalid callable "a(1)" in "wsgi_pass"'),
    ("wsgi_pass app.py:a()();", 'invalid callable "a()()" in "wsgi_pass"'),
    ("wsgi_pass app.py:a().b;", 'invalid callable "a().b" in "wsgi_pass"'),
    ('wsgi_pass "app.py:a b";', 'invalid callable "a b" in "wsgi_pass"'),
    ("wsgi_pass app.py:one two;", 'the callable of "wsgi_pass" is given twice'),
    ("wsgi_pass shop.api:one two;", 'the callable of "wsgi_pass" is given twice'),
    ("wsgi_pass $document_root/app.py;", '"wsgi_pass" takes no variables'),
    ("wsgi_pass app.py $arg_name;", 'invalid callable "$arg_name" in "wsgi_pass"'),
    ("wsgi_pass http://127.0.0.1:8000;",
     '"wsgi_pass" takes a script or a module, "http://127.0.0.1:8000" is an address'),
    ("wsgi_pass uwsgi://backend;", '"wsgi_pass" takes a script or a module, "uwsgi://backend" is an address'),
    ("wsgi_pass shop..api;", 'invalid module name "shop..api" in "wsgi_pass"'),
    ("wsgi_pass .shop;", 'invalid module name ".shop" in "wsgi_pass"'),
    ("wsgi_pass 1shop;", 'invalid module name "1shop" in "wsgi_pass"'),
    ("wsgi_pass my-shop;", 'invalid module name "my-shop" in "wsgi_pass"'),
    ('wsgi_pass "a b";', 'invalid module name "a b" in "wsgi_pass"'),
    ('wsgi_pass "";', 'invalid module name "" in "wsgi_pass"'),
    ('wsgi_pass ":app";', 'invalid module name "" in "wsgi_pass"'),
])
def test_refused(nginx, folder, directive, message):
    check(nginx, folder, directive, message)


def test_duplicate(nginx, app):
    app("")
    server = nginx("""
        location / {
            wsgi_pass app.py;
            wsgi_pass app.py other;
        }
    """, start=False)
    refuses(server, "wsgi_pass app.py other;", duplicate("wsgi_pass"))


def test_beside_another_content_handler_the_last_one_is_not_silently_lost(nginx, app):
    """Two handlers in one location: nginx's own modules let the last one win or refuse; a crash is neither."""
    app("")
    server = nginx("location / { proxy_pass http://127.0.0.1:1; wsgi_pass app.py; }", start=False)
    accepted, output = server.test_config()
    assert accepted or "[emerg]" in output


@pytest.mark.parametrize("place", ["http", "server", "main", "events"])
def test_context(nginx, app, place):
    app("")
    server = nginx(start=False, **{place: "wsgi_pass app.py;"})
    refuses(server, "wsgi_pass", not_allowed("wsgi_pass"))


def test_server_if(nginx, app):
    app("")
    server = nginx("if ($arg_x) { wsgi_pass app.py; }", start=False)
    refuses(server, "wsgi_pass", not_allowed("wsgi_pass"))


def test_the_line_in_an_included_file(nginx, folder):
    (folder / "extra.conf").write_text("\n\nlocation / {\n    wsgi_pass nothing.py;\n}\n")
    server = nginx("include extra.conf;", start=False)
    accepted, output = server.test_config()
    assert not accepted
    assert output.splitlines()[0] == (
        f'nginx: [emerg] script "{folder}/nothing.py" of "wsgi_pass" does not exist in {folder}/extra.conf:4')


def test_start_is_refused_too(nginx, folder):
    """Not only `nginx -t` says it."""
    server = nginx("location / { wsgi_pass nothing.py; }", start=False)
    server.write_conf()
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "does not exist in" in done.stderr
