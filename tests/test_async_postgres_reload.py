"""HUP while requests wait for PostgreSQL: the old worker answers them, then its pool and its connections are gone."""

import pytest

from harness.asynchronous import answers, ask, serve_driver
from harness.nginx import alive, wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    async def async_lock(environ):
        note("lock", os.getpid())
        async with connected() as connection, begun(connection):
            await run(connection, "select pg_advisory_xact_lock_shared(9)")
            return os.getpid()

    async def async_pid(environ):
        await value("select 1")
        return os.getpid()
    """


@pytest.fixture(params=["psycopg", "asyncpg"])
def server(request, database, nginx):
    return serve_driver(nginx, database, request.param, APP)


def test_requests_of_the_old_worker_are_answered(database, server):
    old = server.worker
    holder = database.connect()
    holder.execute("select pg_advisory_lock(9)")
    clients = ask(server, *["/lock"] * 8)
    database.wait_running("pg_advisory_xact_lock_shared", 8)
    used = set(database.backends())
    server.hup(wait_old=False)
    new = server.worker
    # The new one works meanwhile, with a pool of its own.
    assert [answer.json() for answer in answers(ask(server, *["/pid"] * 8))] == [new] * 8
    assert alive(old)
    database.wait_running("pg_advisory_xact_lock_shared", 8)
    holder.execute("select pg_advisory_unlock(9)")
    assert [answer.json() for answer in answers(clients)] == [old] * 8
    wait_for(lambda: not alive(old), lambda: f"the old worker is gone\n{server.tail()}")
    assert server.get("/pid").json() == new
    # Nobody is left in PostgreSQL of those that the old worker had; the test's own is.
    wait_for(lambda: len(used & set(database.backends())) == 1, lambda: f"{used}: {database.backends()}")


def test_requests_that_are_cut_by_a_fast_stop(database, server):
    """TERM waits for nobody; what the requests asked of PostgreSQL is given up with them."""
    holder = database.connect()
    holder.execute("select pg_advisory_lock(9)")
    clients = ask(server, *["/lock"] * 4)
    database.wait_running("pg_advisory_xact_lock_shared", 4)
    server.signal("TERM")
    server.wait_exit()
    database.wait_running("pg_advisory_xact_lock_shared", 0)
    assert [client.read_rest() for client in clients] == [b""] * 4
