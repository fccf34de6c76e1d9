"""wsgi_timeout: an application that runs longer gets an exception, its client 504; one that is stuck costs a worker."""

import re

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.conf import accepts, duplicate, not_allowed, refuses
from harness.http import Truncated
from harness.nginx import alive, wait_for
from harness.threads import ask, serve

pytestmark = pytest.mark.once

NAME = "wsgi_timeout"
APP = """
    from ngx_wsgi import Interrupted, Timeout

    def forever():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.001)
        note("never interrupted")

    def at_forever(environ, start_response):
        note("begins")
        try:
            forever()
        except BaseException as error:
            note("raised", type(error) is Timeout, isinstance(error, Interrupted), isinstance(error, Exception),
                 threading.get_ident() == environ["ident"])
            raise
        finally:
            note("finally")

    def at_computes(environ, start_response):
        try:
            while True:
                sum(range(1000))
        finally:
            note("finally")

    def at_catches(environ, start_response):
        try:
            forever()
        except Timeout:
            note("caught")
        return answer(start_response, b"caught")

    def at_catches_exceptions(environ, start_response):
        while True:
            try:
                forever()
            except Exception:
                note("caught")

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            yield b"first"
            forever()
        finally:
            note("finally")

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range(60):
            yield b"x" * 100_000

    def at_written(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(60):
            write(b"x" * 100_000)
        return []

    def at_close(environ, start_response):
        class Closing(Body):
            def close(self):
                try:
                    forever()
                finally:
                    note("finally")
        start_response("200 OK", PLAIN)
        return Closing(b"one" * 100_000)

    def at_about(environ, start_response):
        time.sleep(float(environ["QUERY_STRING"]))
        return answer(start_response, b"about")

    inner = application

    def application(environ, start_response):
        environ["ident"] = threading.get_ident()
        return inner(environ, start_response)
    """
LINE = (r'\[error\].*wsgi: application "\S+/app\.py" runs for (\d+\.\d) s \(wsgi_timeout\), '
        r'request: "GET {} HTTP/1\.1"(?:, in thread "(.*?)")?$')
STUCK = r'\[error\].*wsgi: application "\S+/app\.py" does not end after its wsgi_timeout, this worker is replaced'


@pytest.mark.parametrize("threads", [1, 0])
@pytest.mark.parametrize("target", ["/forever", "/computes"])
def test_504_and_an_exception_in_the_thread(nginx, threads, target):
    server = serve(nginx, APP, threads=threads, http=f"{NAME} 500ms; wsgi_block_warning off;")
    worker = server.worker
    assert server.get("/hello").body == b"hello"
    assert server.get(target).status == 504
    wait_notes(server, "finally")
    if target == "/forever":
        assert notes(server, "raised") == ["raised True True False True"]
    (line,) = server.wait_for_log(LINE.format(target))
    assert (re.search(LINE.format(target), line)[2] in (None, "MainThread")) == (threads == 0)
    lines = [line for line in server.log().splitlines() if "wsgi: " in line]
    start = next(number for number, line in enumerate(lines) if re.search(LINE.format(target), line))
    stack = "\n".join(lines[start + 1:start + 12])
    assert re.search(r'wsgi:   File "\S+/app\.py", line \d+, in at_' + target[1:], stack), stack
    # The thread serves on, in the same worker.
    for _ in range(3):
        assert server.get("/hello").body == b"hello"
    assert server.worker == worker
    assert not notes(server, "never")
    assert len(server.log_lines(r"\(wsgi_timeout\), request")) == 1


def test_an_error_page_for_it(nginx):
    server = serve(nginx, APP, http=f"{NAME} 200ms;", server="""
        wsgi_threads 2; location / { wsgi_pass app.py; error_page 504 /static/file.txt; }
        location /static/ { alias %%FOLDER%%/static/; }""")
    answer = server.get("/forever")
    assert (answer.status, answer.body) == (504, b"static")


@pytest.mark.parametrize("threads", [2, 0])
@pytest.mark.parametrize("http2", [False, True])
def test_after_the_head_the_answer_is_cut_short(nginx, threads, http2):
    server = serve(nginx, APP, threads=threads, http=f"{NAME} 200ms; wsgi_block_warning off;", h2c=True)
    if http2:
        stream = server.h2().request("GET", "/stream")
        assert stream.status == 200 and stream.reset is not None
    else:
        with pytest.raises(Truncated) as caught:
            server.get("/stream")
        assert caught.value.response.body == b"first"
    wait_notes(server, "finally")
    assert server.get("/hello").body == b"hello"


@pytest.mark.parametrize("target", ["/big", "/written"])
def test_waiting_for_a_slow_client_does_not_count(nginx, target):
    server = serve(nginx, APP, http=f"{NAME} 300ms;")
    clients = [server.connect(rcvbuf=4096) for _ in range(2)]
    for client in clients:
        client.send_request("GET", target)
        client.read_head()
    # Another client of the same limit is interrupted meanwhile, by the clock of the same worker, twice.
    clients.append(server.connect())
    clients[0].reset()
    for _ in range(2):
        assert server.get("/forever").status == 504
    total = len(clients[1].buffer)
    while len(clients[1].buffer) < 6_000_000:
        assert clients[1].fill(), f"{len(clients[1].buffer)} bytes, {total} at first: {server.tail()}"
    assert len(server.log_lines(r"\(wsgi_timeout\), request")) == 2


def test_waiting_in_the_queue_does_not_count(nginx):
    server = serve(nginx, APP, threads=1, http=f"{NAME} 400ms;")
    first = ask(server, "/forever")
    waits = ask(server, "/about?0.1")
    assert first.read_response().status == 504
    assert waits.read_response().body == b"about"


def test_a_client_that_has_left_is_no_excuse(nginx):
    server = serve(nginx, APP, threads=1, http=f"{NAME} 200ms;")
    client = ask(server, "/forever")
    wait_notes(server, "begins")
    client.reset()
    wait_notes(server, "finally")
    assert server.get("/hello").body == b"hello"


def test_close_is_part_of_it(nginx):
    server = serve(nginx, APP, threads=1, http=f"{NAME} 200ms;")
    server.connect().send_request("GET", "/close")
    wait_notes(server, "finally")
    assert server.get("/hello").body == b"hello"


def test_an_application_may_catch_it(nginx):
    server = serve(nginx, APP, threads=1, http=f"{NAME} 500ms;")
    worker = server.worker
    assert server.get("/catches").status == 504
    wait_notes(server, "caught")
    assert server.get("/hello").body == b"hello"
    assert server.worker == worker and not server.log_lines(STUCK)


def test_except_exception_does_not_catch_it(nginx):
    server = serve(nginx, APP, threads=1, http=f"{NAME} 200ms;")
    assert server.get("/catches_exceptions").status == 504
    assert server.get("/hello").body == b"hello"
    assert not notes(server, "caught")


@pytest.mark.parametrize("threads", [2, 0])
def test_nobody_gets_the_exception_of_another(nginx, threads):
    """Requests that end as their time does: whoever was too slow may be interrupted, nobody else."""
    server = serve(nginx, APP, threads=threads, http=f"{NAME} 150ms; wsgi_block_warning off;", level="warn")
    seen = set()
    for turn in range(12):
        clients = [server.connect() for _ in range(3)]
        clients[0].send_request("GET", f"/about?{0.144 + turn / 1000}")
        clients[1].send_request("GET", "/hello")
        clients[2].send_request("GET", "/hello")
        seen.add(clients[0].read_response().status)
        for client in clients[1:]:
            assert client.read_response().body == b"hello"
        for client in clients:
            client.close()
    assert seen <= {200, 504}
    settled(lambda: len(server.log()))
    assert len(server.workers()) == 1


@pytest.mark.parametrize("how", ["with the GIL", "without it", "inline"])
def test_a_worker_that_is_stuck_in_c_is_replaced(nginx, how):
    server = serve(nginx, APP + """
    def at_stuck(environ, start_response):
        if environ["QUERY_STRING"] == "held":
            hold_gil("held")
        else:
            note("holds")
            # A call that nothing interrupts; time.sleep() in pieces would be.
            library = ctypes.CDLL(None)
            library.poll(None, 0, 25000)
        return answer(start_response, b"never")
    """, threads=0 if how == "inline" else 2, http=f"{NAME} 300ms; wsgi_block_warning off;",
                   check_connections=False, check_fds=False, allow=["open socket left"])
    old = server.worker
    download = server.connect(rcvbuf=4096)
    (server.folder / "static/big").write_bytes(b"b" * 5_000_000)
    download.send_request("GET", "/static/big")
    head = download.read_head()
    stuck = server.connect()
    stuck.send_request("GET", "/stuck?held" if how == "with the GIL" else "/stuck")
    wait_notes(server, "holds")
    if how != "inline":
        assert stuck.read_head().status == 504
    server.wait_for_log(STUCK)
    if how != "inline":
        # The other requests of the worker come to their end.
        download.read_body(head)
        assert len(head.body) == 5_000_000
    download.close()
    wait_for(lambda: not alive(old), lambda: f"the old worker is gone\n{server.tail()}")
    wait_for(lambda: server.workers() and server.workers() != [old], "a new one is there")
    assert server.get("/hello").body == b"hello"
    assert not server.log_lines("exited on signal")


def test_a_stuck_thread_does_not_take_other_applications_along(nginx):
    """They finish what they have."""
    server = serve(nginx, APP + """
    def at_stuck(environ, start_response):
        note("holds")
        ctypes.CDLL(None).poll(None, 0, 25000)
        return answer(start_response, b"never")
    """, http="", server=f"""
        location / {{ wsgi_threads 3; {NAME} 300ms; wsgi_pass app.py; }}
        location /patient/ {{ wsgi_threads 3; wsgi_pass other.py; }}
        """, apps={"other.py": """
import os, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "go")):
        time.sleep(0.01)
    yield b"last"
"""}, check_connections=False, check_fds=False, allow=["open socket left"])
    old = server.worker
    patient = server.connect()
    patient.send_request("GET", "/patient/")
    answer = patient.read_head()
    stuck = ask(server, "/stuck")
    assert stuck.read_response().status == 504
    server.wait_for_log(STUCK)
    assert alive(old)
    touch(server, "go")
    patient.read_body(answer)
    assert answer.body == b"firstlast"
    patient.close()
    stuck.close()
    assert server.get("/hello").body == b"hello"
    assert not alive(old)


def test_inner_levels_and_off(nginx):
    server = serve(nginx, APP, server=f"""
        wsgi_threads 2;
        location / {{ wsgi_pass app.py; }}
        location /about {{ {NAME} 0; wsgi_pass app.py; wsgi_script_name ""; }}
        """, http=f"{NAME} 200ms;")
    waits = ask(server, "/about?0.5")
    assert server.get("/forever").status == 504
    assert waits.read_response().body == b"about"


def test_names_of_the_package(nginx):
    server = serve(nginx, """
        import ngx_wsgi

        def at_names(environ, start_response):
            return answer(start_response, [
                issubclass(ngx_wsgi.Timeout, ngx_wsgi.Interrupted),
                issubclass(ngx_wsgi.Disconnected, ngx_wsgi.Interrupted),
                issubclass(ngx_wsgi.Interrupted, BaseException), issubclass(ngx_wsgi.Interrupted, Exception)])
        """)
    assert server.get("/names").json() == [True, True, True, False]


@pytest.mark.parametrize("value", ["0", "300ms", "30s", "2m", "5"])
def test_accepted(nginx, app, value):
    app("")
    text = f"{NAME} {value};"
    accepts(nginx(f"{text} location / {{ {text} wsgi_pass app.py; }}", http=text, start=False))


@pytest.mark.parametrize("name", [NAME, "wsgi_slow_log"])
@pytest.mark.parametrize("value", ["soon", "-1", '""', "1x"])
def test_refused(nginx, name, value):
    text = f"{name} {value};"
    refuses(nginx(f"\n{text}\n", start=False), text, re.compile(".+"))


@pytest.mark.parametrize("name", [NAME, "wsgi_slow_log"])
def test_duplicates_and_levels(nginx, name):
    refuses(nginx(f"{name} 1s;\n{name} 2s;", start=False), f"{name} 2s;", duplicate(name))
    refuses(nginx(main=f"{name} 1s;", start=False), name, not_allowed(name))
