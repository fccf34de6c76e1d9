"""What asyncio offers beside sockets: subprocesses, names, executors, TLS, timeouts, groups of tasks."""

import sys

import pytest

from harness.aio import serve
from harness.nginx import certificate, open_fds, wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]


def returned(nginx, work, **options):
    """What `work`, the body of a coroutine, returns in a worker."""
    lines = "\n".join("    " + line for line in work.splitlines())
    server = serve(nginx, "\n    async def on_x(environ):\n" + lines, **options)
    answer = server.get("/x")
    assert answer.status == 200, server.tail()
    return answer.json()


def test_subprocesses_and_their_status(nginx):
    assert returned(nginx, """
        async def run(number):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", f"import sys; print(sys.stdin.read() * 2); sys.exit({number})",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
            output, _ = await process.communicate(b"%d" % number)
            return output.decode().strip(), process.returncode
        return await asyncio.gather(*(run(n) for n in range(5)))
        """) == [[str(n) * 2, n] for n in range(5)]


def test_a_killed_subprocess(nginx):
    assert returned(nginx, """
        process = await asyncio.create_subprocess_shell("exec sleep 3600")
        process.terminate()
        return await process.wait()
        """) == -15


def test_a_large_output_of_a_subprocess(nginx):
    assert returned(nginx, """
        process = await asyncio.create_subprocess_shell("head -c 3000000 /dev/zero; echo end >&2", stdout=-1, stderr=-1)
        out, err = await process.communicate()
        return len(out), err.decode(), process.returncode
        """) == [3_000_000, "end\n", 0]


def test_names(nginx):
    assert returned(nginx, """
        found = await LOOP.getaddrinfo("localhost", 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
        name = await LOOP.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        errors = await asyncio.gather(LOOP.getaddrinfo("no.such.invalid", 80), return_exceptions=True)
        return found[0][4], name, type(errors[0]).__name__
        """) == [["127.0.0.1", 80], ["127.0.0.1", "80"], "gaierror"]


def test_executors(nginx):
    assert returned(nginx, """
        import concurrent.futures
        main = threading.get_ident()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            idents = await asyncio.gather(*(LOOP.run_in_executor(pool, threading.get_ident) for _ in range(10)))
        return main not in idents, await asyncio.to_thread(sum, [1, 2]), len(idents)
        """) == [True, 3, 10]


def test_streams_over_tls(nginx):
    cert, key = certificate()
    assert returned(nginx, f"""
        import ssl
        accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        accepting.load_cert_chain({str(cert)!r}, {str(key)!r})
        trusting = ssl.create_default_context(cafile={str(cert)!r})

        async def echo(reader, writer):
            data = await reader.readexactly(1_000_000)
            writer.write(data[::-1])
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=accepting)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port, ssl=trusting, server_hostname="localhost")
        data = os.urandom(1_000_000)
        writer.write(data)
        await writer.drain()
        back = await reader.read()
        version = writer.get_extra_info("ssl_object").version()
        writer.close()
        server.close()
        return back == data[::-1], version.startswith("TLS")
        """) == [True, True]


def test_datagrams_and_unix_sockets(nginx):
    assert returned(nginx, """
        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport
            def datagram_received(self, data, address):
                self.transport.sendto(data[::-1], address)

        class Ask(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                answer.set_result(data.decode())

        answer = LOOP.create_future()
        echo, _ = await LOOP.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
        ask, _ = await LOOP.create_datagram_endpoint(Ask, remote_addr=echo.get_extra_info("sockname"))
        ask.sendto(b"abc")
        first = await asyncio.wait_for(answer, 5)
        echo.close(), ask.close()

        async def serve(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        path = os.path.join(HERE, "unix.sock")
        server = await asyncio.start_unix_server(serve, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"line\\n")
        second = (await reader.read()).decode()
        writer.close(), server.close()
        return first, second
        """) == ["cba", "line\n"]


def test_a_server_that_lives_with_the_worker(nginx):
    """It takes connections while no request runs, and nothing is left of them."""
    server = serve(nginx, """
        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        async def on_begin(environ):
            global listening
            listening = await asyncio.start_server(echo, "127.0.0.1", 0)
            return listening.sockets[0].getsockname()[1]

        async def on_end(environ):
            listening.close()
            return b"ok"
        """)
    import socket
    before = open_fds(server.worker).keys()
    port = server.get("/begin").json()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(b"ping")
            assert client.recv(100) == b"ping"
    assert server.get("/end").body == b"ok"
    wait_for(lambda: len(open_fds(server.worker)) <= len(before), "closed")


def test_timeouts(nginx):
    assert returned(nginx, """
        seen = []
        try:
            await asyncio.wait_for(asyncio.sleep(3600), 0.02)
        except asyncio.TimeoutError:
            seen.append("wait_for")
        if hasattr(asyncio, "timeout"):
            try:
                async with asyncio.timeout(0.02):
                    await asyncio.sleep(3600)
            except TimeoutError:
                seen.append("timeout")
            async with asyncio.timeout(3600):
                await asyncio.sleep(0.001)
        else:
            seen.append("timeout")
        return seen
        """) == ["wait_for", "timeout"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is younger than this Python")
def test_a_group_of_tasks(nginx):
    assert returned(nginx, """
        cancelled = []

        async def member(number):
            try:
                await asyncio.sleep(0.001 if number == 3 else 3600)
            except asyncio.CancelledError:
                cancelled.append(number)
                raise
            raise LookupError(number)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(5):
                    group.create_task(member(number))
        except BaseExceptionGroup as caught:
            return sorted(cancelled), [repr(error) for error in caught.exceptions]
        """) == [[0, 1, 2, 4], ["LookupError(3)"]]


def test_an_asynchronous_generator_that_is_given_up(nginx):
    """The loop finalizes it."""
    assert returned(nginx, """
        closed = asyncio.Event()

        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0.001)
                closed.set()

        async for number in numbers():
            break
        await asyncio.wait_for(closed.wait(), 5)
        return number
        """) == 1


def test_signals_are_refused(nginx):
    """As signal.signal() is: nginx has them."""
    server = serve(nginx, """
        import signal

        async def on_x(environ):
            LOOP.add_signal_handler(signal.SIGTERM, note, "called")
            LOOP.remove_signal_handler(signal.SIGTERM)
            return b"ok"
        """)
    assert server.get("/x").body == b"ok"
    server.wait_for_log(r"signal.signal\(SIGTERM\) is refused")
