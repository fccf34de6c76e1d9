"""Sub-interpreters: from the start of a worker to its end, with threads in between."""


import pytest

from harness.apps import PRELUDE, notes, touch, wait_notes
from harness.interpreters import NAMES, THREE, WHO, answers, three
from harness.nginx import wait_for

pytestmark = pytest.mark.once


ATEXIT = """
    import atexit

    atexit.register(note, "ended", NAME, who())
    atexit.register(print, "printed at exit of", NAME)

    def at_who(environ, start_response):
        return answer(start_response, who())
    """


@pytest.mark.parametrize("end", ["QUIT", "TERM", "HUP"])
def test_atexit_runs_in_each(nginx, end):
    server = three(nginx, ATEXIT)
    expected = sorted(f"ended {name} {number}" for name, number in zip(NAMES, answers(server, "who")))
    assert len(set(expected)) == 3
    if end == "HUP":
        server.hup()
    else:
        server.stop(end)
    assert sorted(notes(server)) == expected
    for name in NAMES:
        assert server.log_lines(f"printed at exit of {name}")


def test_atexit_of_a_single_process(nginx):
    server = three(nginx, ATEXIT, master=False)
    expected = sorted(f"ended {name} {number}" for name, number in zip(NAMES, answers(server, "who")))
    server.stop()
    assert sorted(notes(server)) == expected


def test_atexit_that_raises_in_one(nginx):
    server = three(nginx, ATEXIT + """
    if NAME == "one":
        atexit.register(lambda: 1 / 0)
    """)
    answers(server, "who")
    server.stop()
    assert sorted(line.split()[1] for line in notes(server)) == sorted(NAMES)
    assert server.log_lines("ZeroDivisionError")


@pytest.mark.slow
@pytest.mark.parametrize("code", ["threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
                                  "threading.Thread(target=time.sleep, args=(3600,)).start()",
                                  "atexit.register(lambda: there('free') or time.sleep(3600))"])
def test_nothing_that_waits_in_one_hangs_the_end(nginx, code):
    server = three(nginx, f"""
    import atexit
    import threading

    {code}
    """)
    worker = server.worker
    server.hup(timeout=60)
    assert server.worker != worker
    touch(server, "free")


def test_a_worker_that_ends_while_clients_read(nginx):
    server = three(nginx, """
    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(*[b"x" * 100000] * 80, lambda: note("interpreter", NAME, who()) or b"", name=NAME)
    """)
    clients = []
    for name in NAMES:
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", f"/{name}/big")
        client.read_head()
        clients.append(client)
    server.hup(wait_old=False)
    for client in clients:
        assert len(client.read_rest()) > 8_000_000
    wait_notes(server, "close", 3)
    assert sorted(notes(server, "close")) == sorted(f"close {name}" for name in NAMES)
    numbers = {line.split()[1]: int(line.split()[2]) for line in notes(server, "interpreter")}
    assert numbers["main"] == 0 and len(set(numbers.values())) == 3


def test_threads_run_while_nginx_waits(nginx):
    server = three(nginx, """
    import threading

    ticks = 0

    def tick():
        global ticks
        while True:
            ticks += 1
            if ticks == 50:
                note("ticking", NAME, who())
            time.sleep(0.002)

    threading.Thread(target=tick, daemon=True).start()

    def at_ticks(environ, start_response):
        return answer(start_response, [ticks, who()])
    """)
    wait_notes(server, "ticking", 3)  # without a single request
    before = answers(server, "ticks")
    wait_for(lambda: all(now[0] > then[0] + 20 for now, then in zip(answers(server, "ticks"), before)),
             "ticks between requests")
    assert sorted(notes(server)) == sorted(f"ticking {name} {number}" for name, (_, number) in zip(NAMES, before))


def test_threads_started_in_a_request(nginx):
    server = three(nginx, """
    import threading

    results = []

    def at_start(environ, start_response):
        thread = threading.Thread(target=lambda: results.append(who()))
        thread.start()
        thread.join()
        return answer(start_response, results == [who()])

    def at_pool(environ, start_response):
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(3) as pool:
            return answer(start_response, set(pool.map(lambda _: who(), range(9))) == {who()})
    """)
    assert answers(server, "start") == [True] * 3
    assert answers(server, "pool") == [True] * 3


@pytest.mark.inline_only
def test_the_main_thread_of_each(nginx):
    server = three(nginx, """
    import threading

    def here():
        return [threading.current_thread() is threading.main_thread(), threading.active_count()]

    at_import = here()

    def at_here(environ, start_response):
        return answer(start_response, [at_import, here()])
    """)
    assert answers(server, "here") == [[[True, 1], [True, 1]]] * 3


def test_middleware_and_wsgi2_in_each(nginx):
    server = three(nginx, """
    def application(environ):
        return "200 OK", PLAIN, (block for block in (b"%d " % who(), b"%d" % id(sys.modules)))
    """, "wsgi_protocol wsgi2; wsgi_middleware wrapper.py;" + THREE, apps={"wrapper.py": PRELUDE + WHO + """
note("import", who())


def middleware(app):
    def wrapped(environ):
        status, headers, body = app(environ)
        return status, headers, [b"%d %d " % (who(), id(sys.modules)), *body]
    return wrapped
"""})
    seen = [server.get(f"/{name}/").text.split() for name in NAMES]
    assert all(words[:2] == words[2:] for words in seen)
    assert len({words[0] for words in seen}) == 3
    assert sorted(notes(server)) == sorted(f"import {words[0]}" for words in seen)
