"""wsgi_max_requests: a worker that has served so many requests is replaced, and nobody notices."""

import re

import pytest

from harness.apps import serve, touch, wait_notes
from harness.nginx import alive, wait_for

APP = """
def at_pid(environ, start_response):
    return answer(start_response, os.getpid())


def at_wait(environ, start_response):
    note("waits")
    start_response("200 OK", PLAIN)
    while not there("go"):
        yield b""
    yield str(os.getpid()).encode()
"""
SERVER = "location / { wsgi_pass app.py; } location /static { return 200 static; }"
NOTICE = (r"\[notice\].*wsgi: this worker has served {} requests \(wsgi_max_requests\), "
          r"it quits gracefully to be replaced")


def pids(server, number):
    return [server.get("/pid").json() for _ in range(number)]


def runs(values):
    """[1, 1, 2] becomes [(1, 2), (2, 1)]."""
    out = []
    for value in values:
        if out and out[-1][0] == value:
            out[-1] = (value, out[-1][1] + 1)
        else:
            out.append((value, 1))
    return out


def test_exactly_so_many(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 5;")
    seen = runs(pids(server, 17))
    assert [count for _, count in seen] == [5, 5, 5, 2]
    assert len({pid for pid, _ in seen}) == 4
    assert len(server.log_lines(NOTICE.format(5))) == 3
    for pid, _ in seen[:-1]:
        wait_for(lambda: not alive(pid), "it has ended")


def test_one(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 1;")
    assert len(set(pids(server, 5))) == 5


@pytest.mark.parametrize("http", ["", "wsgi_max_requests 0;", "wsgi_max_requests 0 jitter=3;"])
def test_off(nginx, http):
    server = serve(nginx, APP, SERVER, http=http)
    assert len(set(pids(server, 50))) == 1
    assert not server.log_lines("quits gracefully")


def test_other_requests_do_not_count(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 3;")
    old = server.worker
    for _ in range(10):
        assert server.get("/static").text == "static"
    assert pids(server, 3) == [old] * 3
    assert pids(server, 1) != [old]


def test_jitter(nginx):
    """Each worker draws its own number."""
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 2 jitter=6;")
    counts = [count for _, count in runs(pids(server, 150))][:-1]
    assert 2 <= min(counts) and max(counts) <= 8
    # With 7 possible numbers, and 18 workers at least.
    assert len(set(counts)) > 1
    served = [int(re.search(r"served (\d+)", line).group(1)) for line in server.log_lines(NOTICE.format(r"\d+"))]
    assert served[:len(counts)] == counts


def test_the_connection_is_closed_by_the_last_answer(nginx):
    """And the client is told: it must not send another request that nobody reads."""
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 3;")
    with server.connect() as client:
        answers = [client.request("GET", "/pid") for _ in range(3)]
        assert [answer.header("Connection") for answer in answers] == ["keep-alive", "keep-alive", "close"]
        assert client.closed()


def test_requests_that_have_begun_are_finished(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 2;")
    old = server.worker
    slow = server.connect()
    slow.send_request("GET", "/wait")
    wait_notes(server, "waits")
    assert pids(server, 1) == [old]
    server.wait_for_log(NOTICE.format(2))
    assert alive(old)
    # There is no other worker, and the master starts one when this has ended: whoever comes now waits.
    late = server.connect()
    late.send_request("GET", "/pid")
    touch(server, "go")
    assert slow.read_response().text == str(old)
    assert late.read_response().json() != old


def test_http2(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 3;", h2c=True)
    client = server.h2()
    old = server.worker
    assert [client.request("GET", "/pid").json() for _ in range(3)] == [old] * 3
    client.wait(lambda: client.goaway is not None, "GOAWAY")
    client.close()
    assert pids(server, 1) != [old]


def test_counts_in_all_locations_and_interpreters_together(nginx):
    server = serve(nginx, APP, SERVER + "location /two/ { wsgi_interpreter two; wsgi_pass app.py; }",
                   http="wsgi_max_requests 4; wsgi_enable_subinterpreters on;")
    old = server.worker
    answers = [server.get(path).json() for path in ("/pid", "/two/pid") * 2]
    assert answers == [old] * 4
    assert pids(server, 1) != [old]


def test_a_reload_begins_anew(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 5;")
    old = server.worker
    assert pids(server, 4) == [old] * 4
    server.hup()
    new = server.worker
    assert pids(server, 4) == [new] * 4
    server.hup(http="wsgi_max_requests 2;")
    assert [count for _, count in runs(pids(server, 3))] == [2, 1]
    server.hup(http="")
    assert len(set(pids(server, 10))) == 1


WARNING = r'\[warn\].*wsgi: "wsgi_max_requests" needs a master process, this process is not replaced'


def test_in_a_single_process_it_warns(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_requests 2;", master=False)
    assert pids(server, 6) == [server.pid] * 6
    assert len([line for line in (server.output() + server.log()).splitlines() if re.search(WARNING, line)]) >= 1
    assert len(server.log_lines(WARNING)) <= 1


@pytest.mark.parametrize("master, http", [(True, "wsgi_max_requests 2;"), (False, "wsgi_max_requests 0;"), (False, "")])
def test_no_warning_without_a_reason(nginx, master, http):
    server = serve(nginx, APP, SERVER, http=http, master=master)
    assert server.get("/pid").status == 200
    assert not re.search(WARNING, server.output() + server.log())
