"""Workers that are killed or stopped in the middle of requests, a master that is killed, a clock that is set."""

import os
import signal

import pytest

from harness.apps import PRELUDE, wait_notes
from harness.faults import SERVER, Faulty
from harness.http import Truncated
from harness.nginx import alive, state, wait_for

pytestmark = pytest.mark.once

EVERYWHERE = """
    location /sub/ { wsgi_use_main_interpreter off; wsgi_script_name /sub; wsgi_pass sub.py; }
    location /threads/ { wsgi_threads 2; wsgi_script_name /threads; wsgi_pass threads.py; }
    location = /wsgi_status { wsgi_status; }
    location / { wsgi_pass app.py; }
"""
THREAD = PRELUDE + """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/pid":
        return answer(start_response, os.getpid())
    note("waits", environ["QUERY_STRING"])
    block_until_there(environ["QUERY_STRING"])
    return answer(start_response, b"done")
"""
EVENT_LOOP = PRELUDE + """
def at_pid(environ, start_response):
    return answer(start_response, os.getpid())


def at_until(environ, start_response):
    name = environ["QUERY_STRING"]
    start_response("200 OK", PLAIN)
    note("waits", name)
    while not there(name):
        environ["x-wsgiorg.suspend"](5)
        yield b""
    yield b"done"
"""


@pytest.fixture
def everywhere(nginx):
    """Applications in nginx's thread, in an interpreter of their own, and in threads: /, /sub/ and /threads/."""
    def make(**options):
        return nginx(EVERYWHERE, http="wsgi_enable_subinterpreters on;",
                     apps={"app.py": EVENT_LOOP, "sub.py": EVENT_LOOP, "threads.py": THREAD}, **options)
    return make


def ask_everywhere(server, name):
    """A client of each, once its application waits for the file `name`."""
    clients = []
    for place in ("/", "/sub/", "/threads/"):
        clients.append(server.connect())
        clients[-1].send_request("GET", f"{place}until?{name}")
        wait_notes(server, "waits", len(clients))
    return clients


def go_on(server, name, clients):
    (server.folder / name).touch()
    for client in clients:
        assert client.read_response().body == b"done"


def test_a_worker_is_killed(everywhere):
    """Its clients see the end of their connections; the next worker knows nothing of their requests."""
    server = everywhere(allow=[r"exited on signal 9"], check_connections=False)
    old = server.worker
    clients = ask_everywhere(server, "go")
    server.signal("KILL", old)
    for client in clients:
        with pytest.raises(Truncated):
            client.read_response()
    wait_for(lambda: server.workers() not in ([], [old]), "another worker")
    server._remember()
    (server.folder / "go").touch()
    for place in ("/", "/sub/", "/threads/"):
        assert server.get(f"{place}pid").json() == server.worker
        assert server.get(f"{place}until?go").body == b"done"
    page = server.get("/wsgi_status").text
    assert str(old) not in page and str(server.worker) in page, page


def test_the_master_is_killed(everywhere):
    """Its workers serve on, as those of any nginx, and end as they are told."""
    server = everywhere(workers=2)
    clients = ask_everywhere(server, "go")
    workers = server.workers()
    server.signal("KILL")
    server.wait_exit()
    try:
        for place in ("/", "/sub/", "/threads/"):
            assert server.get(f"{place}pid").json() in workers
        for pid in workers:
            os.kill(pid, signal.SIGQUIT)
        go_on(server, "go", clients)
        wait_for(lambda: not any(map(alive, workers)), "its workers have ended")
    finally:
        for pid in filter(alive, workers):
            os.kill(pid, signal.SIGKILL)
        server.process = None
    assert not server._log_problems()


def test_a_worker_is_stopped_for_a_while(everywhere):
    """The other one serves; afterwards what the first had begun goes on as if nothing had happened."""
    server = everywhere(workers=2)
    held = []

    def same_worker():
        client = server.connect()
        pid = client.request("GET", "/pid").json()
        held.append((client, pid))
        return [client for client, other in held if other == held[0][1]]
    clients = wait_for(lambda: len(found := same_worker()) >= 3 and len({pid for _, pid in held}) == 2 and found,
                       "three connections to one worker, and one to the other")[:3]
    stopped = held[0][1]
    for number, (client, place) in enumerate(zip(clients, ("/", "/sub/", "/threads/"))):
        client.send_request("GET", f"{place}until?go")
        wait_notes(server, "waits", number + 1)
    os.kill(stopped, signal.SIGSTOP)
    # Until it has really stopped the kernel may still wake it, and nobody else, for a new connection.
    wait_for(lambda: state(stopped) == "T", "it has stopped")
    try:
        for place in ("/", "/sub/", "/threads/") * 5:
            assert server.get(f"{place}pid").json() != stopped
        late = server.connect()
    finally:
        os.kill(stopped, signal.SIGCONT)
    go_on(server, "go", clients)
    assert late.request("GET", "/pid").status == 200
    answered = {client.request("GET", "/pid").json() for client in clients}
    assert answered == {stopped}


CLOCK = SERVER + """
    wsgi_suspend_timeout 30s;
    location /slow/ { wsgi_threads 2; wsgi_timeout 20s; wsgi_script_name /slow; wsgi_pass slow.py; }
"""


@pytest.mark.parametrize("hours", [24 * 400, -24 * 400])
def test_the_clock_is_set(nginx, folder, hours):
    """By more than any limit, forwards and back: what waits has all the time that it had."""
    (folder / "slow.py").write_text(THREAD)
    (folder / "loop.py").write_text(EVENT_LOOP)
    faulty = Faulty(nginx, CLOCK.replace("location / {", "location = /until { wsgi_pass loop.py; } location / {"),
                    http="wsgi_enable_subinterpreters on; keepalive_timeout 60s;", check_connections=True)
    server = faulty.server
    idle = server.connect()
    before = idle.request("GET", "/list").header("Date")
    clients = []
    for target in ("/until?go", "/slow/until?go"):
        clients.append(server.connect())
        clients[-1].send_request("GET", target)
        wait_notes(server, "waits", len(clients))
    half = server.connect()
    half.send(b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha")
    faulty.page.clock = hours * 3600 * 10**9
    wait_for(lambda: server.get("/list").header("Date")[12:16] != before[12:16], "nginx sees the other time")
    assert server.get("/async/").body == b"one two"
    assert server.get("/suspend").body == b"one two"
    assert idle.request("GET", "/list").body == b"one two"
    half.send(b"lf")
    assert half.read_response().status == 200
    go_on(server, "go", clients)
    assert not server.log_lines("timed out|time limit|wsgi_timeout|expired")
