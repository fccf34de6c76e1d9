"""A client that leaves, and a time limit: the query is cancelled in PostgreSQL, its connection is used again."""

import pytest

from harness.apps import wait_notes
from harness.asynchronous import answers, ask, serve_driver
from harness.nginx import wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    async def async_sleep(environ):
        note("asked")
        try:
            await value("select pg_sleep(300)::text")
        except asyncio.CancelledError:
            note("cancelled")
            raise

    def at_sleep_in_generator(environ, start_response):
        try:
            yield from wait(environ, value("select pg_sleep(300)::text"))
        finally:
            note("closed")
        start_response("200 OK", PLAIN)
        yield b"slept"

    async def async_limited(environ):
        try:
            async with asyncio.timeout(0.1):
                return await value("select pg_sleep(300)::text")
        except TimeoutError:
            return "504 Gateway Timeout", PLAIN, b"the database is too slow"
    """


@pytest.fixture(params=["psycopg", "asyncpg"])
def server(request, database, nginx):
    return serve_driver(nginx, database, request.param, APP, SIZE=1)


def test_the_client_leaves(database, server):
    backend = server.get("/backend").json()
    for target, noted in (("/sleep", "cancelled"), ("/sleep_in_generator", "closed")):
        for count, leave in enumerate(("reset", "close"), 1):
            client, = ask(server, target)
            assert database.wait_running("pg_sleep") == [backend]
            getattr(client, leave)()
            wait_notes(server, noted, count)
            database.wait_running("pg_sleep", 0)
            # The only connection of the pool lives and serves the next request.
            assert server.get("/backend").json() == backend
            wait_for(lambda: database.backends() == [backend], lambda: f"{backend}: {database.backends()}")


def test_many_clients_leave(database, server):
    """One runs, the others wait for the connection; all of them go, in any order."""
    backend = server.get("/backend").json()
    clients = ask(server, *["/sleep"] * 20)
    wait_notes(server, "asked", 20)
    database.wait_running("pg_sleep")
    staying, = ask(server, "/backend")
    for client in clients:
        client.reset()
    assert staying.read_response().json() == backend
    database.wait_running("pg_sleep", 0)
    assert len(wait_notes(server, "cancelled", 20)) == 20


def test_a_time_limit(database, server):
    backend = server.get("/backend").json()
    for _ in range(3):
        answer = server.get("/limited")
        assert (answer.status, answer.text) == (504, "the database is too slow")
    database.wait_running("pg_sleep", 0)
    assert server.get("/backend").json() == backend


def test_suspended_for_too_long(database, nginx):
    """wsgi_suspend_timeout: the request is answered with 504, and the query is cancelled as well."""
    server = serve_driver(nginx, database, "psycopg", APP,
                          "location / { wsgi_suspend_timeout 300ms; wsgi_pass app.py; }", SIZE=1)

    def connected():
        """To connect may take longer than this, on a slow machine."""
        answer = server.get("/backend")
        return answer.status == 200 and answer.json()

    backend = wait_for(connected, "a connection")
    for target in ("/sleep", "/sleep_in_generator"):
        since = server.log_size()
        assert server.get(target).status == 504
        server.wait_for_log(r"was suspended for longer than .*wsgi_suspend_timeout", since=since)
        database.wait_running("pg_sleep", 0)
        assert wait_for(connected, "a connection") == backend


def test_a_backend_that_is_terminated(database, server):
    """The query fails, the request gets an error of its own, and the pool connects again."""
    backend = server.get("/backend").json()
    client, = ask(server, "/sleep")
    database.wait_running("pg_sleep")
    database.execute("select pg_terminate_backend(%s)", backend)
    assert client.read_response().status == 500
    found = server.get("/backend")
    assert found.status == 200 and found.json() != backend, server.tail()


def test_others_go_on_while_one_is_cancelled(database, server):
    clients = ask(server, "/sleep", *["/backend"] * 10)
    database.wait_running("pg_sleep")
    clients[0].close()
    assert [answer.status for answer in answers(clients[1:])] == [200] * 10


def test_streams_of_http2(database, nginx):
    """A stream that is reset takes its query with it, and none of the others on the same connection."""
    server = serve_driver(nginx, database, "psycopg", APP, SIZE=4, options={"h2c": True})
    client = server.h2()
    streams = [client.send_request("GET", "/sleep") for _ in range(3)]
    database.wait_running("pg_sleep", 3)
    client.reset(streams[1])
    wait_notes(server, "cancelled")
    database.wait_running("pg_sleep", 2)
    backend = client.send_request("GET", "/backend")
    client.finish(backend)
    assert backend.status == 200
    client.close()
    wait_notes(server, "cancelled", 3)
    database.wait_running("pg_sleep", 0)


def test_asyncio_in_debug_mode(database, nginx):
    """It checks more, such as who calls from which thread, and nobody has anything to complain of."""
    server = serve_driver(nginx, database, "psycopg", APP, SIZE=2, PYTHONASYNCIODEBUG=1)
    clients = ask(server, "/sleep", *["/backend"] * 10, "/limited")
    assert [answer.status for answer in answers(clients[1:])] == [200] * 10 + [504]
    clients[0].reset()
    wait_notes(server, "cancelled")
    database.wait_running("pg_sleep", 0)
    assert not server.log_lines("Traceback|RuntimeWarning|was never")
