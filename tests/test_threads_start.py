"""Applications in threads are imported by a thread at start, while nginx answers what needs no Python."""

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.interpreters import ENABLE
from harness.nginx import wait_for
from harness.threads import ask, serve, wait_in_nginx

WAITS = """
    note("import", threading.current_thread() is threading.main_thread())
    block_until_there("imported")

    def at_me(environ, start_response):
        return answer(start_response, b"me")
    """
GOOD = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"good"]
"""
CANNOT = r'\[error\].*wsgi: cannot load application "\S+/app\.py": '


def test_an_import_that_takes_long(nginx):
    server = serve(nginx, WAITS, more="location /good { wsgi_pass good.py; }", apps={"good.py": GOOD})
    # nginx is ready, as the harness saw; the application is not.
    wait_notes(server, "import")
    assert server.get("/ok").body == b"ok" and server.get("/static/file.txt").body == b"static"
    assert server.get("/good").body == b"good"
    waits = [ask(server, "/me") for _ in range(3)]
    wait_in_nginx(server, 3)
    assert server.get("/ok").body == b"ok"
    touch(server, "imported")
    assert [client.read_response().body for client in waits] == [b"me"] * 3
    assert notes(server, "import") == ["import False"]


def test_the_first_import_does_not_wait_for_a_request(nginx):
    server = serve(nginx, 'note("import", os.getpid())', workers=2)
    assert sorted(wait_notes(server, "import", 2)) == [f"import {pid}" for pid in sorted(server.workers())]
    old = server.workers()
    server.hup()
    assert len(wait_notes(server, "import", 4)) == 4
    assert {f"import {pid}" for pid in server.workers()} | {f"import {pid}" for pid in old} == set(notes(server))


def test_who_leaves_during_the_import_is_forgotten(nginx):
    server = serve(nginx, WAITS)
    wait_notes(server, "import")
    leaves, stays = ask(server, "/hello?leaves"), ask(server, "/hello?stays")
    leaves.reset()
    wait_in_nginx(server, 1)
    touch(server, "imported")
    assert stays.read_response().body == b"hello"
    assert notes(server, "hello") == ["hello stays"]


@pytest.mark.parametrize("interpreters", [False, True])
def test_two_applications_are_imported_side_by_side(nginx, interpreters):
    """In threads of different pools; one that hangs leaves the others."""
    server = serve(nginx, WAITS, more="location /good { wsgi_pass good.py; } location /bad { wsgi_pass bad.py; }",
                   apps={"good.py": GOOD, "bad.py": "1 / 0\n"}, http=ENABLE if interpreters else "")
    wait_notes(server, "import")
    assert server.get("/good").body == b"good"
    assert server.get("/bad").status == 500
    touch(server, "imported")
    assert server.get("/me").body == b"me"


def test_two_workers_and_a_reload_during_the_import(nginx):
    server = serve(nginx, WAITS, workers=2)
    wait_notes(server, "import", 2)
    server.hup(wait_old=False)
    wait_notes(server, "import", 4)
    waits = ask(server, "/me")
    assert server.get("/ok").body == b"ok"
    touch(server, "imported")
    assert waits.read_response().body == b"me"
    assert settled(lambda: len(notes(server, "import"))) == 4


@pytest.mark.parametrize("signal", ["QUIT", "TERM"])
def test_the_end_during_an_import(nginx, signal):
    server = serve(nginx, WAITS)
    wait_notes(server, "import")
    server.signal(signal)
    touch(server, "imported")
    assert server.wait_exit() == 0


def test_a_failing_import_is_500_and_tried_again(nginx):
    server = serve(nginx, """
        note("import")
        if not there("mended"):
            raise ValueError("broken")
        """)
    (line,) = server.wait_for_log(CANNOT + "ValueError: broken")
    server.wait_for_log("wsgi: Traceback")
    for _ in range(3):
        assert server.get("/hello").status == 500
    assert 'request: "GET /hello HTTP/1.1"' in server.wait_for_log(r"is not loaded \(ValueError: broken\)")[0]
    assert server.get("/ok").body == b"ok"
    touch(server, "mended")
    wait_for(lambda: server.get("/hello").status == 200, "the next attempt", 5)
    assert notes(server, "hello")
    assert len(server.log_lines(CANNOT)) <= 2


def test_tried_again_at_most_once_a_second(nginx):
    server = serve(nginx, """
        note("import")
        raise ValueError("broken")
        """, threads=4)
    wait_notes(server, "import")
    requests = 0
    while len(notes(server, "import")) < 2:
        assert server.get("/hello").status == 500
        requests += 1
        assert requests < 100_000
    assert requests > 5
    # What is known is not said with its traceback again.
    assert len(server.log_lines("Traceback")) == 1


@pytest.mark.parametrize("text", ["sys.exit(3)", "raise KeyboardInterrupt", "def f(): f()\nf()", "f(:"])
def test_an_import_that_fails_in_other_ways(nginx, text):
    server = serve(nginx, text)
    server.wait_for_log(CANNOT)
    worker = server.worker
    assert server.get("/hello").status == 500
    assert server.get("/ok").body == b"ok"
    assert server.worker == worker


def test_a_factory(nginx):
    server = serve(nginx, """
        def make():
            note("made", threading.current_thread() is threading.main_thread())
            return application
        """, server="location / { wsgi_threads 3; wsgi_pass app.py:make(); }")
    clients = [server.connect() for _ in range(6)]
    for client in clients:
        client.send_request("GET", "/hello")
    assert [client.read_response().body for client in clients] == [b"hello"] * 6
    assert notes(server, "made") == ["made False"]


def test_an_import_that_starts_threads_and_waits_for_them(nginx):
    server = serve(nginx, """
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            FOUND = list(pool.map(int, "123"))

        def at_found(environ, start_response):
            return answer(start_response, FOUND)
        """)
    assert server.get("/found").json() == [1, 2, 3]


def test_a_single_process(nginx):
    server = serve(nginx, WAITS, master=False)
    wait_notes(server, "import")
    assert server.get("/ok").body == b"ok"
    touch(server, "imported")
    assert server.get("/me").body == b"me"


def test_no_worker_of_a_cache_has_threads(nginx):
    server = serve(nginx, 'note("import", os.getpid())',
                   http="proxy_cache_path %%FOLDER%%/cache keys_zone=cache:1m;")
    assert server.get("/hello").body == b"hello"
    assert notes(server, "import") == [f"import {server.worker}"]
