"""Descriptors that asyncio watches by way of nginx: add_reader, add_writer, and what becomes of a closed one."""

import pytest

from harness import apps
from harness.aio import serve
from harness.apps import notes
from harness.nginx import cpu, open_fds

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

PAIR = """
    @contextlib.contextmanager
    def pair():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        with ours, theirs:
            yield ours, theirs


    def filled(sock):
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(bytes(65536))
    """


def one(nginx, work, text="", **options):
    """What `work`, the body of a coroutine, returns in a worker."""
    lines = "\n".join("    " + line for line in work.splitlines())
    server = serve(nginx, PAIR + text + "\n    async def on_x(environ):\n" + lines, **options)
    return server, server.get("/x").json()


def test_both_directions_of_one_descriptor(nginx):
    _, seen = one(nginx, """
        seen = []
        with pair() as (ours, theirs):
            readable, writable = asyncio.Event(), asyncio.Event()
            LOOP.add_reader(ours, lambda: (seen.append("r"), ours.recv(10), readable.set()))
            LOOP.add_writer(ours, lambda: (seen.append("w"), LOOP.remove_writer(ours), writable.set()))
            await writable.wait()
            theirs.send(b"x")
            await readable.wait()
            assert LOOP.remove_writer(ours) is False
            filled(ours)
            writable.clear(), readable.clear()
            LOOP.add_writer(ours, lambda: (seen.append("w"), LOOP.remove_writer(ours), writable.set()))
            theirs.send(b"y")
            await readable.wait()
            assert not writable.is_set()
            with contextlib.suppress(BlockingIOError):
                while True:
                    theirs.recv(1 << 20)
            await writable.wait()
            assert LOOP.remove_reader(ours) is True
        return seen
        """)
    assert seen == ["w", "r", "r", "w"]


def test_a_reader_that_does_not_read(nginx):
    """It is called again and again, as by asyncio elsewhere: readiness is a level."""
    _, count = one(nginx, """
        with pair() as (ours, theirs):
            calls = []
            theirs.send(b"x")
            LOOP.add_reader(ours, calls.append, 1)
            while len(calls) < 10:
                await asyncio.sleep(0.001)
            LOOP.remove_reader(ours)
            count = len(calls)
            await asyncio.sleep(0.02)
        return len(calls) - count
        """)
    assert count == 0


def test_a_reader_removed_by_another_one(nginx):
    """What has been seen, but not been reported, is forgotten."""
    _, seen = one(nginx, """
        seen = []
        with pair() as (a, b), pair() as (c, d):
            def reader(name, own, other):
                seen.append(name)
                LOOP.remove_reader(own)
                LOOP.remove_reader(other)
            LOOP.add_reader(a, reader, "a", a, c)
            LOOP.add_reader(c, reader, "c", c, a)
            b.send(b"x")
            d.send(b"x")
            await asyncio.sleep(0.05)
        return seen
        """)
    assert seen in (["a"], ["c"])


def test_replaced_handlers(nginx):
    _, seen = one(nginx, """
        seen = []
        with pair() as (ours, theirs):
            LOOP.add_reader(ours, seen.append, "old")
            LOOP.add_reader(ours, lambda: (seen.append("new"), ours.recv(1)))
            theirs.send(b"x")
            while not seen:
                await asyncio.sleep(0.001)
            LOOP.remove_reader(ours)
        return seen
        """)
    assert seen == ["new"]


@pytest.mark.parametrize("name", ["number", "object"])
@pytest.mark.parametrize("order", ["remove first", "close first", "close only"])
def test_closing(nginx, order, name):
    """Whatever the order, the number can be used again, and the old socket is really closed."""
    server, seen = one(nginx, f"""
        seen = []
        for _ in range(50):
            ours, theirs = socket.socketpair()
            number = ours.fileno()
            name = {"number" if name == "number" else "ours"}
            LOOP.add_reader(name, seen.append, "old")
            await asyncio.sleep(0)
            if {order == "remove first"}:
                assert LOOP.remove_reader(name) is True
            ours.close()
            if {order == "close first"}:
                assert LOOP.remove_reader(name) is True
            third, fourth = socket.socketpair()
            assert number in (third.fileno(), fourth.fileno())
            mine, peer = (third, fourth) if third.fileno() == number else (fourth, third)
            done = LOOP.create_future()
            LOOP.add_reader(number, lambda: (LOOP.remove_reader(number), done.set_result(mine.recv(1))))
            peer.send(b"n")
            assert await asyncio.wait_for(done, 5) == b"n"
            theirs.settimeout(5)
            assert theirs.recv(1) == b""
            for sock in (theirs, third, fourth):
                sock.close()
        return seen
        """)
    assert seen == []


def test_a_descriptor_closed_and_forgotten_before_the_loop_is_run_by_hand(nginx):
    """As it is at the end of a worker."""
    server = serve(nginx, PAIR + """
        def at_x(environ, start_response):
            with pair() as (ours, theirs):
                LOOP.add_reader(ours, note, "called")
                LOOP.add_writer(theirs, note, "called")
            LOOP.run_until_complete(asyncio.sleep(0.001))
            with pair() as (ours, theirs):
                LOOP.add_reader(ours, lambda: (note("read", ours.recv(1)), LOOP.remove_reader(ours)))
                theirs.send(b"x")
                LOOP.run_until_complete(asyncio.sleep(0.01))
            return answer(start_response, b"ok")
        """.replace("\n        ", "\n    "))
    assert server.get("/x").body == b"ok"
    assert notes(server) == ["read b'x'"]


def test_a_descriptor_closed_and_forgotten(nginx):
    """nginx neither crashes nor spins."""
    server, _ = one(nginx, """
        ours, theirs = socket.socketpair()
        LOOP.add_reader(ours.fileno(), note, "called")
        LOOP.add_writer(ours.fileno(), note, "called")
        ours.close()
        theirs.close()
        await asyncio.sleep(0.01)
        return None
        """)
    assert server.get("/x").status == 200
    before = cpu(server.worker)
    assert server.get("/x").status == 200
    assert cpu(server.worker) - before < 0.5
    assert len(open_fds(server.worker)) < 100


@pytest.mark.parametrize("what, kind", [
    ('open(__file__)', "PermissionError"), ('open("/dev/null")', "PermissionError"), ("10 ** 6", "OSError"),
    ("-1", "ValueError"), ("'x'", "ValueError")])
def test_what_cannot_be_watched(nginx, what, kind):
    _, raised_by = one(nginx, f"""
        LOOP.add_reader(LOOP_FD, int)
        LOOP.remove_reader(LOOP_FD)
        return [raised(LOOP.add_reader, {what}, int), raised(LOOP.add_reader, {what}, int)]
        """, "\n    LOOP_FD = socket.socketpair()[0].detach()\n", check_fds=False)
    assert raised_by == [kind, kind]


def test_no_connection_of_nginx_is_left(nginx):
    """An exception where it is asked for, and everything works again when some have been given back."""
    server, (number, kind, text) = one(nginx, """
        made = []
        try:
            with contextlib.ExitStack() as stack:
                try:
                    while True:
                        ours, _ = stack.enter_context(pair())
                        LOOP.add_reader(ours, int)
                        made.append(ours)
                except OSError as error:
                    return len(made), type(error).__name__, str(error)
                finally:
                    for ours in made:
                        LOOP.remove_reader(ours)
        finally:
            await asyncio.sleep(0)
        """, connections=64)
    assert number > 10 and kind == "OSError" and "worker_connections" in text
    assert server.get("/x").json() == [number, kind, text]


def test_many(nginx):
    server, total = one(nginx, """
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(pair()) for _ in range(200)]
            async def echo(ours):
                for _ in range(10):
                    await LOOP.sock_sendall(ours, await LOOP.sock_recv(ours, 100))
            async def ask(theirs):
                total = 0
                for n in range(10):
                    await LOOP.sock_sendall(theirs, bytes([n]))
                    total += (await LOOP.sock_recv(theirs, 100))[0]
                return total
            totals = await asyncio.gather(*(ask(theirs) for _, theirs in pairs), *(echo(ours) for ours, _ in pairs))
            return sum(filter(None, totals))
        """, connections=1024)
    assert total == 200 * 45


def test_debug_mode_switched_on_meanwhile(nginx):
    """The one handler replaces the other, although asyncio itself has the new one."""
    _, seen = one(nginx, """
        seen = []
        with pair() as (ours, theirs):
            for debug in (False, True, False):
                LOOP.set_debug(debug)
                LOOP.add_reader(ours, lambda debug=debug: (seen.append(debug), ours.recv(1)))
            LOOP.set_debug(True)
            LOOP.add_reader(ours, lambda: (seen.append("last"), ours.recv(1)))
            theirs.send(b"x")
            while not seen:
                await asyncio.sleep(0.001)
            removed = [LOOP.remove_reader(ours), LOOP.remove_reader(ours)]
        LOOP.set_debug(False)
        return seen + removed
        """)
    assert seen == ["last", True, False]


def test_a_loop_for_which_nothing_is_left(nginx):
    """An attempt to make it leaves nothing; the first after something has been given back makes it."""
    server = apps.serve(nginx, """
        import contextlib
        import socket
        import ngx_wsgi.asyncio
        from ngx_wsgi import native

        ours, theirs = socket.socketpair()
        watches = []

        def descriptors():
            return len(os.listdir("/proc/self/fd"))

        def at_x(environ, start_response):
            with contextlib.suppress(OSError):
                while True:
                    watches.append(native.watch(ours.fileno(), native.READ, int))
            before = descriptors()
            found = {raised(ngx_wsgi.asyncio.get_loop) for _ in range(10)}
            left = descriptors() - before
            while watches:
                watches.pop().cancel()
            found.add(raised(ngx_wsgi.asyncio.get_loop))
            return answer(start_response, [left, *sorted(map(str, found))])
        """, connections=64, check_fds=False)
    assert server.get("/x").json() == [0, "None", "OSError"]
