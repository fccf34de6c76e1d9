"""x-wsgiorg.suspend: who may resume a request, when, and what resume() says of it."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only


def test_in_a_slice_of_another_request(nginx):
    server = serve(nginx)
    client = send(server, "/wait?a")
    assert notes(server) == ["waits a"]
    assert resume(server, "a") is True
    assert client.read_response().body == b"done a"
    wait_notes(server, "finally")
    assert notes(server) == ["waits a", "goes on a", "finally a"]


def test_resume_says_no_after_the_end(nginx):
    server = serve(nginx)
    client = send(server, "/wait?a")
    assert resume(server, "a") is True
    client.read_response()
    wait_notes(server, "finally")
    assert [resume(server, "a") for _ in range(3)] == [False] * 3


def test_twice_in_one_slice(nginx):
    server = serve(nginx, """
        def at_twice(environ, start_response):
            return answer(start_response, [resumes["a"](), resumes["a"](), resumes["a"]()])
        """)
    client = send(server, "/wait?a")
    assert server.get("/twice").json() == [True, False, False]
    assert client.read_response().body == b"done a"


def test_before_the_application_has_yielded(nginx):
    """Whoever is faster than the application spares it the suspension."""
    server = serve(nginx, """
        def at_early(environ, start_response):
            start_response("200 OK", PLAIN)
            resume = environ["x-wsgiorg.suspend"]()
            said = [resume(), resume()]
            yield b""
            yield json.dumps(said).encode()
        """)
    assert server.get("/early").json() == [True, False]


def test_a_suspension_that_was_spared_spares_no_other(nginx):
    """Its empty item is its end. Without one it is the same suspension: the first event counts, none is lost."""
    server = serve(nginx, """
        def at_early(environ, start_response):
            start_response("200 OK", PLAIN)
            environ["x-wsgiorg.suspend"]()()
            if environ["QUERY_STRING"] == "yields":
                yield b""
            yield b"block "
            yield from waiting(environ, "a")
        """)
    assert server.get("/early").body == b"block done a"
    (server.folder / "notes").unlink()
    client = send(server, "/early?yields")
    assert settled(lambda: notes(server, "goes on")) == []
    assert resume(server, "a") is True
    assert client.read_response().body == b"block done a"


def test_blocks_between_the_call_and_the_empty_item(nginx):
    """resume() comes while they are being sent: there is nothing to wait for any more."""
    server = serve(nginx, """
        def at_between(environ, start_response):
            start_response("200 OK", PLAIN)
            resume = environ["x-wsgiorg.suspend"]()
            yield b"one "
            said = resume()
            yield b"two "
            yield b""
            yield json.dumps(said).encode()
        """)
    assert server.get("/between").body == b"one two true"


def test_from_a_thread(nginx):
    """The application goes on in nginx's thread nevertheless."""
    server = serve(nginx, """
        def at_thread(environ, start_response):
            start_response("200 OK", PLAIN)
            said, here = [], threading.get_ident()
            resume = environ["x-wsgiorg.suspend"]()
            thread = threading.Timer(0.05, lambda: said.append(resume()))
            thread.start()
            yield b""
            thread.join()
            yield json.dumps([said, here == threading.get_ident()]).encode()
        """)
    assert server.get("/thread").json() == [[True], True]


def test_resume_does_not_enter_the_application(nginx):
    """It marks the request: the slice in which it was called comes to its end first."""
    server = serve(nginx, """
        def at_from(environ, start_response):
            start_response("200 OK", PLAIN)
            note("resume", resumes["a"]())
            note("after")
            yield b"one"
            note("later in the same turn")
            yield b"two"
        """)
    client = send(server, "/wait?a")
    assert server.get("/from").body == b"onetwo"
    assert client.read_response().body == b"done a"
    assert notes(server)[:4] == ["waits a", "resume True", "after", "later in the same turn"]


def test_a_thread_that_resumes_keeps_running(nginx):
    """Whatever the application does next does not happen in the call of resume()."""
    server = serve(nginx, """
        def at_thread(environ, start_response):
            start_response("200 OK", PLAIN)
            resume, here = environ["x-wsgiorg.suspend"](), []
            def wake():
                time.sleep(0.05)
                here.append("before")
                resume()
                here.append("after")
            thread = threading.Thread(target=wake)
            thread.start()
            yield b""
            here.append(threading.current_thread().name)
            thread.join()
            yield json.dumps(here).encode()
        """)
    said = server.get("/thread").json()
    assert sorted(said) == ["MainThread", "after", "before"] and said[0] == "before"


def test_a_request_that_resumes_itself_from_a_thread_at_once(nginx):
    """The race of resume() with the empty item, some hundred times."""
    server = serve(nginx, """
        import queue

        wanted = queue.SimpleQueue()

        def wake():
            while True:
                resume, said = wanted.get()
                said.append(resume())

        threading.Thread(target=wake, daemon=True).start()

        def at_races(environ, start_response):
            start_response("200 OK", PLAIN)
            said = []
            for number in range(400):
                wanted.put((environ["x-wsgiorg.suspend"](), said))
                if number % 3 == 0:
                    time.sleep(0.0001)
                yield b""
            while len(said) < 400:
                time.sleep(0.001)
            yield json.dumps([len(said), all(said)]).encode()
        """)
    assert server.get("/races").json() == [400, True]


def test_many_threads_resume_one_request(nginx):
    """Each suspension is resumed once, however many call resume() at the same time."""
    server = serve(nginx, """
        ROUNDS = 200

        def at_storm(environ, start_response):
            start_response("200 OK", PLAIN)
            current, trues, falses, over = [lambda: False], [], [], threading.Event()
            def hammer():
                while not over.is_set():
                    (trues if current[0]() else falses).append(1)
                    time.sleep(0.0002)
            threads = [threading.Thread(target=hammer) for _ in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(ROUNDS):
                current[0] = environ["x-wsgiorg.suspend"]()
                yield b""
            over.set()
            for thread in threads:
                thread.join()
            yield json.dumps([len(trues), len(falses) > 0, current[0]()]).encode()
        """)
    with nothing_left(server):
        assert server.get("/storm").json() == [200, True, False]


def test_thousands_of_calls_after_the_end_while_others_are_served(nginx):
    server = serve(nginx, """
        def at_hammer(environ, start_response):
            def hammer():
                note("said", sorted({resumes["a"]() for _ in range(5000)}))
            for _ in range(4):
                threading.Thread(target=hammer).start()
            return answer(start_response, b"")
        """)
    client = send(server, "/wait?a")
    server.get("/resume?a")
    client.read_response()
    server.get("/hammer")
    for _ in range(20):
        assert server.get("/hello").body == b"hello"
    assert wait_notes(server, "said", 4) == ["said [False]"] * 4


def test_a_hundred_requests_are_resumed_by_one_slice(nginx):
    server = serve(nginx, """
        def at_all(environ, start_response):
            return answer(start_response, [resume() for resume in resumes.values()])
        """)
    clients = []
    for number in range(100):
        clients.append(server.connect())
        clients[-1].send_request("GET", f"/wait?{number}")
    wait_notes(server, "waits", 100)
    assert server.get("/all").json() == [True] * 100
    assert {client.read_response().body for client in clients} == {b"done %d" % number for number in range(100)}


def test_resume_is_kept_by_nobody(nginx):
    """The request waits, for its client or its limit; nothing breaks because nobody can resume it."""
    server = serve(nginx, """
        import gc

        def at_forgotten(environ, start_response):
            start_response("200 OK", PLAIN)
            try:
                environ["x-wsgiorg.suspend"]()
                note("waits")
                yield b""
                yield b"never"
            finally:
                note("finally")

        def at_collect(environ, start_response):
            return answer(start_response, gc.collect() >= 0)
        """)
    with nothing_left(server):
        client = send(server, "/forgotten")
        assert server.get("/collect").json() is True
        client.reset()
        wait_notes(server, "finally")


def test_a_request_waits_again_and_again(nginx):
    server = serve(nginx, """
        def at_often(environ, start_response):
            start_response("200 OK", PLAIN)
            for number in range(5):
                yield from waiting(environ, "a")
        """)
    client = send(server, "/often")
    for number in range(1, 6):
        wait_notes(server, "waits", number)
        assert server.get("/hello").body == b"hello"
        assert resume(server, "a") is True
    assert client.read_response().body == b"done a" * 5
