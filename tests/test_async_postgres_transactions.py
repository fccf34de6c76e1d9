"""Transactions of requests that one worker interleaves: each is its own, whatever the others do meanwhile."""

import pytest

from harness.asynchronous import answers, ask, serve_driver
from harness.http import Truncated

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    async def async_count(environ):
        async with connected() as connection:
            return await one(connection, "select count(*) from rows")

    async def async_insert(environ):
        name, _, lock = query(environ).partition(",")
        async with connected() as connection, begun(connection):
            await run(connection, "insert into rows values (%s)" % quoted(name))
            if lock:
                await run(connection, "select pg_advisory_xact_lock(%s)" % lock)
            note("inserted", name)
            return await one(connection, "select count(*) from rows")

    async def async_fails(environ):
        async with connected() as connection, begun(connection):
            await run(connection, "insert into rows values ('never')")
            raise LookupError("planned")

    async def async_twice_the_same(environ):
        # The database refuses the second one; the first one goes with it, the savepoint's error does not matter.
        async with connected() as connection, begun(connection):
            await run(connection, "insert into rows values ('kept')")
            try:
                async with begun(connection):
                    await run(connection, "insert into rows values ('inner')")
                    await run(connection, "insert into rows values ('inner')")
            except errors.UniqueViolation as error:
                return type(error).__name__

    async def async_pair(environ):
        mine, other = query(environ).split(",")
        async with connected() as connection, begun(connection):
            await run(connection, "update pair set value = value + 1 where id = " + mine)
            await run(connection, "select pg_advisory_xact_lock_shared(4)")
            await run(connection, "update pair set value = value + 1 where id = " + other)

    async def blocks():
        async with connected() as connection, begun(connection):
            await run(connection, "insert into rows values ('streamed')")
            yield b"inserted"
            await run(connection, "select 1 / 0")

    async def async_streamed(environ):
        return "200 OK", PLAIN, blocks()

    def quoted(name):
        return "'" + name.replace("'", "''") + "'"
    """

@pytest.fixture(params=["psycopg", "asyncpg"])
def server(request, database, nginx):
    database.execute("create table rows (name text primary key)")
    return serve_driver(nginx, database, request.param, APP)


def test_commit_and_rollback(database, server):
    assert server.get("/insert?one").json() == 1
    assert database.execute("select name from rows") == [("one",)]
    since = server.log_size()
    assert server.get("/fails").status == 500
    server.wait_for_log("LookupError: planned", since=since)
    assert database.execute("select name from rows") == [("one",)]
    # A statement that fails ends the request's transaction, not the connection.
    assert server.get("/insert?one").status == 500
    assert server.get("/insert?two").json() == 2
    assert server.get("/twice_the_same").json().startswith("UniqueViolation")
    assert database.execute("select name from rows order by name") == [("kept",), ("one",), ("two",)]


def test_interleaved_requests_see_only_what_is_committed(database, server):
    holder = database.connect()
    holder.execute("select pg_advisory_lock(1), pg_advisory_lock(2)")
    first, second = ask(server, "/insert?first,1", "/insert?second,2")
    database.wait_running("pg_advisory_xact_lock", 2)
    # Both are in the middle of their transactions, in the same thread.
    assert server.get("/count").json() == 0
    holder.execute("select pg_advisory_unlock(2)")
    assert second.read_response().json() == 1
    assert server.get("/count").json() == 1
    assert database.running("pg_advisory_xact_lock")
    holder.execute("select pg_advisory_unlock(1)")
    assert first.read_response().json() == 2
    assert server.get("/count").json() == 2


def test_a_client_that_leaves_takes_its_transaction_back(database, server):
    holder = database.connect()
    holder.execute("select pg_advisory_lock(3)")
    gone, = ask(server, "/insert?gone,3")
    database.wait_running("pg_advisory_xact_lock")
    gone.reset()
    database.wait_running("pg_advisory_xact_lock", 0)
    assert server.get("/count").json() == 0
    # The row of that name can be made: nothing holds it any more.
    holder.execute("select pg_advisory_unlock(3)")
    assert server.get("/insert?gone").json() == 1


def test_deadlock(database, server):
    """PostgreSQL ends one of two transactions that wait for each other; the other one goes on."""
    database.execute("alter system set deadlock_timeout = '10ms'")
    database.execute("select pg_reload_conf()")
    database.execute("create table pair (id int, value int)")
    database.execute("insert into pair values (1, 0), (2, 0)")
    holder = database.connect()
    holder.execute("select pg_advisory_lock(4)")
    # Each takes its row, then waits for the test, then wants the other's.
    clients = ask(server, "/pair?1,2", "/pair?2,1")
    database.wait_running("pg_advisory_xact_lock_shared", 2)
    holder.execute("select pg_advisory_unlock(4)")
    assert sorted(answer.status for answer in answers(clients)) == [200, 500], server.tail()
    server.wait_for_log("deadlock detected")
    assert database.execute("select value from pair") == [(1,), (1,)]


def test_an_error_in_the_middle_of_a_stream(database, server):
    client, = ask(server, "/streamed")
    with pytest.raises(Truncated) as cut:
        client.read_response()
    assert (cut.value.response.status, cut.value.response.body) == (200, b"inserted")
    server.wait_for_log("division by zero")
    assert server.get("/count").json() == 0
