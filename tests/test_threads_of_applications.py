"""Threads that an application in threads starts, its executors, event loops and processes."""

import pytest

from harness.apps import notes, touch, wait_notes
from harness.interpreters import NAMES, answers, three
from harness.threads import serve

pytestmark = pytest.mark.once


def test_executors(nginx):
    server = serve(nginx, """
        import concurrent.futures

        pool = concurrent.futures.ThreadPoolExecutor(3)

        def at_shared(environ, start_response):
            return answer(start_response, sum(pool.map(int, "1234567890")))

        def at_own(environ, start_response):
            with concurrent.futures.ThreadPoolExecutor(2) as own:
                return answer(start_response, sum(own.map(int, "1234567890")))
        """, threads=4)
    clients = [server.connect() for _ in range(8)]
    for _ in range(5):
        for number, client in enumerate(clients):
            client.send_request("GET", "/own" if number % 2 else "/shared")
        assert [client.read_response().json() for client in clients] == [45] * 8


def test_asyncio_run_in_several_threads(nginx):
    server = serve(nginx, """
        import asyncio

        barrier = threading.Barrier(3)

        async def work(name):
            await asyncio.sleep(0.001)
            # All three loops are running.
            await asyncio.get_running_loop().run_in_executor(None, barrier.wait, 20)
            first, second = await asyncio.gather(asyncio.sleep(0.001, name), asyncio.to_thread(str.upper, name))
            return first + second

        def at_asyncio(environ, start_response):
            return answer(start_response, asyncio.run(work(environ["QUERY_STRING"])))
        """, threads=3)
    clients = [server.connect() for _ in range(3)]
    for _ in range(3):
        for name, client in zip("abc", clients):
            client.send_request("GET", f"/asyncio?{name}")
        assert [client.read_response().json() for client in clients] == ["aA", "bB", "cC"]
    assert not server.log_lines("signal.signal")


def test_an_event_loop_kept_in_a_thread_local(nginx):
    server = serve(nginx, """
        import asyncio

        local = threading.local()

        async def who():
            await asyncio.sleep(0)
            return id(asyncio.get_running_loop())

        def at_loop(environ, start_response):
            if not hasattr(local, "loop"):
                local.loop = asyncio.new_event_loop()
            return answer(start_response, [local.loop.run_until_complete(who()) == id(local.loop)])
        """, check_fds=False)
    assert [server.get("/loop").json() for _ in range(6)] == [[True]] * 6


def test_threads_go_on_after_the_request_and_while_nothing_happens(nginx):
    server = serve(nginx, """
        def tick():
            for number in range(1000):
                note("tick", number)
                time.sleep(0.002)

        def at_start(environ, start_response):
            threading.Thread(target=tick, daemon=True).start()
            return answer(start_response, b"started")
        """)
    assert server.get("/start").body == b"started"
    wait_notes(server, "tick", 20)
    assert server.get("/hello").body == b"hello"
    wait_notes(server, "tick", len(notes(server, "tick")) + 20)


def test_a_thread_that_computes_does_not_stop_requests(nginx):
    server = serve(nginx, """
        def burn():
            while not there("stop"):
                sum(range(1000))

        for _ in range(2):
            threading.Thread(target=burn, daemon=True).start()
        """)
    for _ in range(5):
        assert server.get("/hello").body == b"hello"
        assert server.get("/ok").body == b"ok"
    touch(server, "stop")


def test_processes(nginx):
    server = serve(nginx, """
        import subprocess

        def at_process(environ, start_response):
            done = subprocess.run(["/bin/sh", "-c", "read word; echo got $word; exit 3"], input=b"hello\\n",
                                  capture_output=True)
            return answer(start_response, [done.returncode, done.stdout.decode()])

        def at_fork(environ, start_response):
            pid = os.fork()
            if not pid:
                os._exit(7)
            return answer(start_response, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """, threads=4)
    clients = [server.connect() for _ in range(4)]
    for _ in range(3):
        for client in clients:
            client.send_request("GET", "/process")
        assert [client.read_response().json() for client in clients] == [[3, "got hello\n"]] * 4
    assert server.get("/fork").json() == 7


def test_context_variables_are_isolated(nginx):
    server = serve(nginx, """
        import contextvars
        import asyncio

        var = contextvars.ContextVar("var", default="unset")
        barrier = threading.Barrier(4)

        async def inside(name):
            assert var.get() == name
            var.set("changed inside")

        def at_context(environ, start_response):
            name = environ["QUERY_STRING"]
            before = var.get()
            var.set(name)
            barrier.wait(20)
            asyncio.run(inside(name))
            start_response("200 OK", PLAIN)
            def blocks():
                yield f"{before} ".encode()
                barrier.wait(20)
                yield f"{var.get()}".encode()
            return blocks()
        """, threads=4)
    for _ in range(3):
        clients = [server.connect() for _ in range(4)]
        for name, client in zip("abcd", clients):
            client.send_request("GET", f"/context?{name}")
        assert [client.read_response().text for client in clients] == [f"unset {name}" for name in "abcd"]


def test_locks_conditions_and_queues(nginx):
    """Requests that wait for each other, as a chat with long polling."""
    server = serve(nginx, """
        import queue

        box = queue.Queue()

        def at_take(environ, start_response):
            note("takes")
            return answer(start_response, box.get(timeout=20))

        def at_put(environ, start_response):
            box.put(environ["QUERY_STRING"])
            return answer(start_response, b"put")
        """, threads=4)
    takers = [server.connect() for _ in range(3)]
    for client in takers:
        client.send_request("GET", "/take")
    wait_notes(server, "takes", 3)
    for name in "abc":
        assert server.get(f"/put?{name}").body == b"put"
    assert sorted(client.read_response().json() for client in takers) == ["a", "b", "c"]


@pytest.mark.parametrize("signal", ["QUIT", "TERM"])
def test_busy_threads_at_the_end(nginx, signal):
    server = serve(nginx, """
        import json

        def burn():
            while True:
                json.dumps([list(range(10))] * 10)

        def at_burn(environ, start_response):
            threading.Thread(target=burn, daemon=True).start()
            threading.Thread(target=lambda: [print("still here") for _ in iter(int, 1)], daemon=True).start()
            return answer(start_response, b"burns")
        """)
    assert server.get("/burn").body == b"burns"
    server.hup()
    assert server.get("/burn").body == b"burns"
    server.stop(signal)


def test_atexit_and_executors_at_the_end(nginx):
    server = serve(nginx, """
        import atexit
        import concurrent.futures

        pool = concurrent.futures.ThreadPoolExecutor(2)
        atexit.register(note, "atexit")

        def at_later(environ, start_response):
            pool.submit(lambda: (time.sleep(0.1), note("later")))
            return answer(start_response, b"later")
        """)
    assert server.get("/later").body == b"later"
    server.stop()
    assert "atexit" in notes(server)


def test_interpreters(nginx):
    """Each has threads of its own, with their own thread-locals and modules."""
    server = three(nginx, """
    import asyncio
    import concurrent.futures
    import threading

    local = threading.local()
    pool = concurrent.futures.ThreadPoolExecutor(2)
    barrier = threading.Barrier(2)

    async def work():
        await asyncio.sleep(0.001)
        return await asyncio.get_running_loop().run_in_executor(None, who)

    def at_all(environ, start_response):
        barrier.wait(20)
        local.count = getattr(local, "count", 0) + 1
        found = [who(), NAME, local.count, threading.current_thread() is not threading.main_thread(),
                 environ["wsgi.multithread"]]
        # Python 3.12 and newer let the main interpreter only start threads as an interpreter ends.
        found += [asyncio.run(work()) == who(), pool.submit(who).result() == who()]
        return answer(start_response, found)

    def at_fails(environ, start_response):
        raise ValueError("in " + NAME)

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        ident = threading.get_ident()
        try:
            for number in range(20):
                assert threading.get_ident() == ident
                yield b"%d" % who() * 50_000
        finally:
            note("finally", NAME, who(), threading.get_ident() == ident)
    """, http="wsgi_threads 2;")
    numbers = {}
    for turn in range(1, 4):
        for name in NAMES:
            clients = [server.connect() for _ in range(2)]
            for client in clients:
                client.send_request("GET", f"/{name}/all")
            for client in clients:
                number, *rest = client.read_response().json()
                assert rest == [name, turn, True, True, True, True]
                assert numbers.setdefault(name, number) == number
    assert len(set(numbers.values())) == 3 and numbers["main"] == 0
    for name in NAMES:
        assert server.get(f"/{name}/fails").status == 500
        server.wait_for_log(f"raised ValueError: in {name}")
    clients = {name: [server.connect(rcvbuf=4096) for _ in range(2)] for name in NAMES}
    for name in NAMES:
        for client in clients[name]:
            client.send_request("GET", f"/{name}/stream")
    for name in NAMES:
        assert len(clients[name][0].read_response().body) == 1_000_000 * len(str(numbers[name]))
        clients[name][1].read_head()
        clients[name][1].reset()
    assert sorted(wait_notes(server, "finally", 6)) == sorted(2 * [f"finally {name} {numbers[name]} True"
                                                                   for name in NAMES])


def test_interpreters_run_side_by_side(nginx):
    server = three(nginx, """
    import threading

    def at_wait(environ, start_response):
        note("wait", NAME)
        block_until_there("go")
        return answer(start_response, who())
    """, http="wsgi_threads 1;")
    clients = [server.connect() for _ in NAMES]
    for name, client in zip(NAMES, clients):
        client.send_request("GET", f"/{name}/wait")
    wait_notes(server, "wait", 3)
    touch(server, "go")
    assert len({client.read_response().json() for client in clients}) == 3


def test_interpreters_end_and_begin_again(nginx):
    server = three(nginx, """
    import atexit
    import threading

    atexit.register(note, "atexit", NAME)

    def at_me(environ, start_response):
        return answer(start_response, who())
    """, http="wsgi_threads 3;")
    for turn in range(1, 3):
        assert len(set(answers(server, "me"))) == 3
        server.hup()
        assert sorted(wait_notes(server, "atexit", 3 * turn)) == sorted(f"atexit {name}" for name in NAMES * turn)
