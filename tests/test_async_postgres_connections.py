"""nginx has no connections left: whoever wants to wait for PostgreSQL then gets an error, later ones are served."""

import pytest

from harness.asynchronous import answers, ask, serve_driver
from harness.http import Truncated
from harness.nginx import wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    async def async_lock(environ):
        try:
            async with connected() as connection, begun(connection):
                await run(connection, "select pg_advisory_xact_lock_shared(2)")
                return b"locked"
        except OSError as error:
            return "503 Service Unavailable", PLAIN, str(error).encode()
        except ERRORS as error:
            return "503 Service Unavailable", PLAIN, f"{type(error).__name__}: {error}".encode()
    """


def status(client):
    """None: nginx has closed the connection before it read the request, to use its place again."""
    try:
        return client.read_response().status
    except Truncated as error:
        assert error.response is None
        return None


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_worker_connections(database, nginx, driver):
    server = serve_driver(nginx, database, driver, APP, SIZE=40, TIMEOUT=1, options={"connections": 40})
    worker = server.worker
    wait_for(lambda: server.get("/value?select%201").status == 200, "a connection")
    holder = database.connect()
    holder.execute("select pg_advisory_lock(2)")
    # Each takes one connection of nginx's, and wants to wait for one of PostgreSQL's.
    clients = ask(server, *["/lock"] * 26)
    wait_for(lambda: server.log_lines("worker_connections are not enough"), "they are all taken")
    holder.execute("select pg_advisory_unlock(2)")
    assert {status(client) for client in clients} <= {200, 503, None}
    for client in clients:
        client.close()
    wait_for(lambda: server.get("/value?select%202").status == 200, "it is better then")
    found = answers(ask(server, *["/value?select%203"] * 5))
    assert [answer.text for answer in found] == ["3"] * 5
    assert server.worker == worker
