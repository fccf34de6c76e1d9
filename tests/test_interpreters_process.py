"""Sub-interpreters: the process that all share, and libraries that work in each."""

import textwrap

import pytest

from harness.apps import PRELUDE, notes, serve
from harness.interpreters import ENABLE, NAMES, WHO, answers, three
from harness.nginx import THREADS, wait_for

pytestmark = pytest.mark.once


def test_signals_are_refused_in_each(nginx):
    server = three(nginx, """
    import signal

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: note("caught", NAME))

    def at_same(environ, start_response):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return answer(start_response, signal.getsignal(signal.SIGTERM) == before)
    """)
    assert answers(server, "same") == [True] * 3
    for name in NAMES:
        for number in ("SIGTERM", "SIGINT"):
            assert len(server.wait_for_log(rf"wsgi: signal\.signal\({number}\) is refused.*/{name}\.py:")) == 1
    server.stop("TERM")
    assert notes(server) == []


def test_subprocess_in_each(nginx):
    server = three(nginx, """
    import subprocess

    def at_run(environ, start_response):
        codes = [subprocess.run(["sh", "-c", f"exit {number}"]).returncode for number in range(5)]
        out = subprocess.check_output(["echo", NAME], text=True)
        return answer(start_response, [codes, out, subprocess.run("kill -9 $$", shell=True).returncode])
    """, http="wsgi_block_warning off;")
    assert answers(server, "run") == [[[0, 1, 2, 3, 4], f"{name}\n", -9] for name in NAMES]


def test_environment_of_the_configuration_is_seen_by_each(nginx):
    server = three(nginx, """
    at_import = os.environ.get("GREETING")

    def at_seen(environ, start_response):
        return answer(start_response, [at_import, os.environ.get("GREETING")])
    """, http="wsgi_env GREETING hello;")
    assert answers(server, "seen") == [["hello", "hello"]] * 3


def test_optimisation_and_executable_are_those_of_the_main_interpreter(nginx):
    server = three(nginx, """
    def at_flags(environ, start_response):
        return answer(start_response, [sys.flags.optimize, __debug__, sys.prefix, sys.executable, sys.argv])
    """, http="wsgi_python_optimize 1;")
    one, two, main = answers(server, "flags")
    assert one == two == main
    assert main[:2] == [1, False]


def test_libraries_work_in_each(nginx):
    """A handful of the library's modules with C parts, used by turns."""
    server = three(nginx, """
    import datetime
    import decimal
    import hashlib
    import re
    import socket
    import sqlite3
    import struct
    import zlib

    def at_use(environ, start_response):
        database = sqlite3.connect(":memory:")
        database.execute("create table t (a)")
        database.execute("insert into t values (?)", (NAME,))
        left, right = socket.socketpair()
        left.sendall(b"x")
        found = [database.execute("select a from t").fetchone()[0], hashlib.sha256(b"").hexdigest()[:4],
                 str(decimal.Decimal(1) / 3)[:5], zlib.decompress(zlib.compress(b"z")).decode(),
                 datetime.date(2000, 1, 1).isoformat(), re.sub("a+", "b", "aaa"), struct.pack("<H", 513)[0],
                 right.recv(1).decode(), json.loads('{"a": [1.5]}')["a"][0]]
        left.close()
        right.close()
        return answer(start_response, found)
    """)
    for _ in range(3):
        assert answers(server, "use") == [
            [name, "e3b0", "0.333", "z", "2000-01-01", "b", 1, "x", 1.5] for name in NAMES]


def test_asyncio_runs_in_each(nginx):
    server = three(nginx, """
    import asyncio

    async def main():
        first, second = await asyncio.gather(asyncio.sleep(0.001, "a"), asyncio.to_thread(who))
        return first, second == who()

    def at_run(environ, start_response):
        return answer(start_response, asyncio.run(main()))
    """, http="wsgi_block_warning off;")
    for _ in range(3):
        assert answers(server, "run") == [["a", True]] * 3


def test_many_interpreters_in_several_workers(nginx):
    count = 10
    script = PRELUDE + WHO + textwrap.dedent("""
    def application(environ, start_response):
        return answer(start_response, [NAME, who(), os.getpid()])
    """)
    server = nginx("\n".join(f"location /{n}/ {{ wsgi_pass app{n}.py; }}" for n in range(count)), http=ENABLE,
                   apps={f"app{n}.py": script for n in range(count)}, workers=2)
    for _ in range(3):
        seen = {}
        for number in range(count):
            name, who, pid = server.get(f"/{number}/").json()
            assert name == f"app{number}" and who != 0
            assert seen.setdefault((pid, who), name) == name
    old = server.workers()
    server.hup()
    assert server.get("/3/").json()[2] not in old


@pytest.mark.inline_only
def test_a_block_warning_names_the_application(nginx):
    server = three(nginx, """
    def at_slow(environ, start_response):
        time.sleep(0.05)
        return answer(start_response, who())
    """, http="wsgi_block_warning 20ms;")
    answers(server, "slow")
    for name in NAMES:
        assert len(server.wait_for_log(rf'application "\S+/{name}\.py" held the event loop')) == 1


def test_no_sub_interpreter_is_made_where_none_is_wanted(nginx):
    server = serve(nginx, WHO + """
def at_count(environ, start_response):
    return answer(start_response, len(_interpreters.list_all()))
    """)
    assert server.get("/count").json() == 1


def test_asyncio_works_in_each(nginx):
    """Timeouts, and a loop in a thread beside that of a request."""
    server = three(nginx, """
        import asyncio
        import threading

        background = asyncio.new_event_loop()
        threading.Thread(target=background.run_forever, daemon=True).start()

        async def expire():
            try:
                await asyncio.wait_for(asyncio.sleep(20), 0.05)
            except asyncio.TimeoutError:
                return "expired"

        def at_both(environ, start_response):
            elsewhere = asyncio.run_coroutine_threadsafe(expire(), background)
            return answer(start_response, [asyncio.run(expire()), elsewhere.result(20)])
        """, http="wsgi_block_warning off;", check_fds=not THREADS)
    for _ in range(3):
        assert answers(server, "both") == [["expired", "expired"]] * 3


def test_import_errors_that_speak_of_interpreters_are_no_refusals(nginx, folder):
    """In the main interpreter and in a sub-interpreter: the usual message, its traceback, and another attempt."""
    server = three(nginx, """
        import code_interpreter

        def at_ready(environ, start_response):
            return answer(start_response, True)
        """)
    for name in NAMES:
        (line,) = server.wait_for_log(rf'cannot load application "\S+/{name}\.py"')
        assert line.endswith(": ModuleNotFoundError: No module named 'code_interpreter'")
    assert len(server.wait_for_log("wsgi:     import code_interpreter", count=3)) == 3
    (folder / "code_interpreter.py").write_text("")
    for name in NAMES:
        wait_for(lambda name=name: server.get(f"/{name}/ready").status == 200, server.tail)
