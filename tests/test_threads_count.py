"""wsgi_threads N: so many requests run at once, and never more."""

import threading

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.threads import ask, hold, let_go, serve, threads_of, wait_in_nginx


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_so_many_run_at_once(nginx, threads):
    server = serve(nginx, f"""
        barrier = threading.Barrier({threads})

        def at_barrier(environ, start_response):
            return answer(start_response, barrier.wait(20))
        """, threads=threads)
    for _ in range(3):
        clients = [server.connect() for _ in range(threads)]
        for client in clients:
            client.send_request("GET", "/barrier")
        assert sorted(client.read_response().json() for client in clients) == list(range(threads))


def test_never_more(nginx):
    server = serve(nginx, threads=3)
    clients = [ask(server, f"/wait?{number}") for number in range(7)]
    wait_in_nginx(server, 7)
    wait_notes(server, "wait", 3)
    assert sorted(settled(lambda: notes(server))) == ["wait 0", "wait 1", "wait 2"]
    for number, client in enumerate(clients):
        touch(server, number)
        assert client.read_response().text == str(number)
        if number < 4:
            # One has ended, so one has begun.
            wait_notes(server, "wait", 4 + number)
            assert len(notes(server, "wait")) == 4 + number
    assert len(notes(server, "done")) == 7


def test_under_load_never_more_and_all_are_used(nginx):
    server = serve(nginx, """
        lock = threading.Lock()
        running = most = 0
        idents = set()

        def at_count(environ, start_response):
            global running, most
            with lock:
                running += 1
                most = max(most, running)
                idents.add(threading.get_ident())
            time.sleep(0.001)
            with lock:
                running -= 1
            return answer(start_response, b"counted")

        def at_most(environ, start_response):
            return answer(start_response, [most, len(idents)])
        """, threads=4)

    def many(client):
        for _ in range(50):
            assert client.request("GET", "/count").body == b"counted"
            done.append(1)

    done = []
    threads = [threading.Thread(target=many, args=(server.connect(),)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 500
    most, idents = server.get("/most").json()
    assert most == 4 and idents == 4


@pytest.mark.parametrize("blocked", [1, 2, 3])
def test_none_waits_behind_a_blocked_one_while_a_thread_is_idle(nginx, blocked):
    server = serve(nginx, threads=4)
    # All come to the threads at once, when this one lets go of the GIL.
    first = hold(server)
    clients, waiting = [], []
    for number in range(8):
        if number % 2 == 0 and len(waiting) < blocked:
            waiting.append(ask(server, f"/wait?{number}"))
        clients.append(ask(server, f"/hello?{number}"))
    wait_in_nginx(server, 1 + len(clients) + len(waiting))
    let_go(server)
    assert [client.read_response().body for client in [first, *clients]] == [b"held"] + [b"hello"] * 8
    assert notes(server, "done") == []
    for number, client in enumerate(waiting):
        touch(server, 2 * number)
        assert client.read_response().text == str(2 * number)


def test_each_worker_has_its_own(nginx):
    server = serve(nginx, """
        def at_pid(environ, start_response):
            note("pid", os.getpid())
            block_until_there("go")
            return answer(start_response, os.getpid())
        """, threads=2, workers=2)
    clients = []
    # Whichever worker takes a connection: in the end both have two running.
    while len(set(notes(server, "pid"))) < 2 or len(notes(server, "pid")) < 4:
        clients.append(ask(server, "/pid"))
        assert len(clients) < 100
    pids = settled(lambda: notes(server, "pid"))
    assert sorted(pids.count(f"pid {pid}") for pid in server.workers()) == [2, 2]
    touch(server, "go")
    for client in clients:
        assert client.read_response().json() in server.workers()


def test_locations_of_one_application_share_its_threads(nginx):
    server = serve(nginx, server="""
        location /wait { wsgi_threads 2; wsgi_script_name ""; wsgi_pass app.py; }
        location / { wsgi_threads 2; wsgi_pass app.py; }
        location /other/ { wsgi_threads 2; wsgi_pass other.py; }
        """, apps={"other.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"other"]
"""})
    clients = [ask(server, f"/wait?{number}") for number in range(2)]
    wait_notes(server, "wait", 2)
    clients.append(ask(server, "/hello"))
    # Another application has its own.
    assert server.get("/other/").body == b"other"
    assert notes(server, "hello") == []
    touch(server, "0")
    assert clients[2].read_response().body == b"hello"
    touch(server, "1")
    assert [client.read_response().text for client in clients[:2]] == ["0", "1"]


def test_inline_and_threads_side_by_side(nginx):
    server = serve(nginx, server="""
        location / { wsgi_threads 2; wsgi_pass app.py; }
        location /inline/ { wsgi_threads 0; wsgi_pass inline.py; }
        """, apps={"inline.py": """
import threading

def application(environ, start_response):
    assert threading.current_thread() is threading.main_thread()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(environ["wsgi.multithread"]).encode()]
"""})
    clients = [ask(server, f"/wait?{number}") for number in range(2)]
    wait_notes(server, "wait", 2)
    for _ in range(5):
        assert server.get("/inline/").text == "False"
    for number, client in enumerate(clients):
        touch(server, number)
        assert client.read_response().text == str(number)


def test_many_threads_start_and_end(nginx):
    server = serve(nginx, threads=200)
    assert server.get("/hello").body == b"hello"
    # They may be made when they are needed.
    clients = [ask(server, "/wait?go") for _ in range(200)]
    wait_notes(server, "wait", 200)
    assert len(threads_of(server.worker)) >= 200
    touch(server, "go")
    assert all(client.read_response().body == b"go" for client in clients)
