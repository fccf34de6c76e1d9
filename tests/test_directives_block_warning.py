"""wsgi_block_warning: who holds the event loop is named, once."""

import re
import time

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

NAME = "wsgi_block_warning"
APP = """
import time


def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def generator(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    time.sleep(float(environ["QUERY_STRING"] or 0))
    yield b"second"


class Closing:
    def __iter__(self):
        return iter([b"ok"])

    def close(self):
        time.sleep(0.15)


def closing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing()
"""
WARNING = r"\[warn\].*wsgi: application \"(.*?)\" held the event loop for (\d+) ms"


def warnings(server):
    """(application, milliseconds) of each warning; the log is complete once a request was answered after it."""
    server.get("/fast?0")
    return [re.search(WARNING, line).groups() for line in server.log_lines(WARNING)]


@pytest.mark.inline_only
def test_default_is_100_ms_and_once(nginx):
    server = nginx("location / { wsgi_pass app.py; } location /fast { wsgi_pass app.py; }", apps={"app.py": APP})
    assert server.get("/?0.02").status == 200
    assert warnings(server) == []
    for _ in range(3):
        assert server.get("/?0.12").status == 200
    ((name, milliseconds),) = warnings(server)
    assert name == f"{server.folder}/app.py"
    assert 110 <= int(milliseconds) < 2000


@pytest.mark.inline_only
def test_once_per_application(nginx):
    server = nginx("""
        location / { wsgi_pass app.py; }
        location /two { wsgi_pass other.py; }
        location /three { wsgi_pass app.py generator; }
    """, apps={"app.py": APP, "other.py": APP})
    for _ in range(2):
        for target in ("/", "/two", "/three"):
            assert server.get(f"{target}?0.11").status == 200
    names = [name for name, _ in warnings(server)]
    assert len(names) == 3
    assert any("other.py" in name for name in names) and any("generator" in name for name in names)


@pytest.mark.inline_only
def test_says_what_to_do(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    server.get("/?0.12")
    (line,) = server.wait_for_log(WARNING)
    advice = re.search(r"held the event loop for \d+ ms(.*)", line).group(1)
    assert len(advice) > 20, "the warning says what to do about it"
    assert NAME in advice or "wsgi_" in advice or "block" in advice


@pytest.mark.inline_only
@pytest.mark.parametrize("callable_", ["generator", "closing"])
def test_every_stay_in_python_counts(nginx, callable_):
    server = nginx("location / { wsgi_pass app.py %s; } location /fast { return 200; }" % callable_,
                   apps={"app.py": APP})
    assert server.get("/?0.12").status == 200
    assert len(warnings(server)) == 1


def test_off(nginx):
    server = nginx(f"{NAME} off; location / {{ wsgi_pass app.py; }}", apps={"app.py": APP})
    server.get("/?0.15")
    assert warnings(server) == []


@pytest.mark.inline_only
def test_own_limit_and_inheritance(nginx):
    server = nginx(f"""
        {NAME} 20ms;
        location / {{ wsgi_pass app.py; }}
        location /patient {{ {NAME} 10s; wsgi_pass other.py; }}
        location /quiet {{ {NAME} off; wsgi_pass third.py; }}
    """, http=f"{NAME} 1s;", apps={"app.py": APP, "other.py": APP, "third.py": APP})
    for target in ("/patient", "/quiet", "/"):
        server.get(f"{target}?0.04")
    assert [name for name, _ in warnings(server)] == [f"{server.folder}/app.py"]


def test_waiting_for_a_slow_client_is_not_holding(nginx):
    """Time spent suspended, while other requests are served, is not the application's."""
    server = nginx(f"{NAME} 80ms; location / {{ wsgi_pass big.py; }}", apps={"big.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(64):
        yield b"x" * 65536
"""})
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/")
    head = client.read_head()
    client.sock.settimeout(5)
    time.sleep(0.3)  # the client, not the test, is slow
    client.read_body(head)
    assert len(head.body) == 64 * 65536
    assert server.log_lines(WARNING) == []


@pytest.mark.parametrize("value", ["off", "100ms", "1s", "2", "1m"])
def test_accepted(nginx, app, value):
    app("")
    accepts(nginx(f"location / {{ {NAME} {value}; wsgi_pass app.py; }}", start=False))


@pytest.mark.parametrize("directive, message", [
    (f"{NAME};", wrong_count(NAME)),
    (f"{NAME} 1s 2s;", wrong_count(NAME)),
    *[(f"{NAME} {value};", f'"{NAME}" directive takes a time above 0 or "off"')
      for value in ("soon", "-1", "on", '""', "0", "1x", "OFF")],
])
def test_refused(nginx, directive, message):
    refuses(nginx(f"\n{directive}\n", start=False), directive, message)


def test_duplicate(nginx):
    refuses(nginx(f"{NAME} 1s;\n{NAME} off;", start=False), f"{NAME} off;", duplicate(NAME))


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: f"{NAME} 1s;"}), NAME, not_allowed(NAME))
