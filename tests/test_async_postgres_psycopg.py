"""psycopg 3 on nginx's event loop: many requests of one worker share a pool of connections."""

import pytest

from harness.apps import notes, wait_notes
from harness.asynchronous import answers, ask, serve_driver
from harness.nginx import wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    busy = set()

    async def given(statement, *values):
        async with connected() as connection:
            cursor = await connection.execute(statement, values)
            return (await cursor.fetchone())[0]

    async def async_given(environ):
        return await given("select %s || '!'", query(environ))

    def at_wait(environ, start_response):
        # The same as a generator: it decides on the status when the database has answered.
        found = yield from wait(environ, given("select %s || '?'", query(environ)))
        start_response("200 OK", PLAIN)
        yield found.encode()

    def at_twice(environ, start_response):
        first = yield from wait(environ, value("select 20"))
        start_response("200 OK", PLAIN)
        yield b"%d," % first
        second = yield from wait(environ, given("select %s + 22", first))
        yield b"%d" % second

    async def async_busy(environ):
        # Which connection, and how many requests have one meanwhile.
        async with connected() as connection:
            busy.add(connection)
            note("busy", len(busy))
            cursor = await connection.execute("select pg_sleep(0.02)")
            busy.discard(connection)
            return connection.info.backend_pid

    async def async_lock(environ):
        try:
            async with connected() as connection:
                await connection.execute("select pg_advisory_xact_lock(%s)", [int(query(environ))])
                return connection.info.backend_pid
        except psycopg_pool.PoolTimeout as error:
            return "503 Service Unavailable", PLAIN, b"no connection is free"

    async def async_stats(environ):
        return pool.get_stats()

    async def async_wrong(environ):
        try:
            return await value("select wrong")
        except psycopg.errors.UndefinedColumn as error:
            return "400 Bad Request", PLAIN, error.diag.message_primary.encode()

    async def async_unhandled(environ):
        return await value("select 1 / 0")

    async def rows(count):
        try:
            async with connected() as connection, connection.cursor("streamed") as cursor:
                cursor.itersize = 500
                async for number, in await cursor.execute("select generate_series(1, %s)", [count]):
                    yield b"%d," % number
        finally:
            note("rows ended")

    async def async_rows(environ):
        return "200 OK", PLAIN, rows(int(query(environ)))

    async def async_listen(environ):
        async with connected() as connection:
            await connection.set_autocommit(True)
            try:
                await connection.execute("listen news")
                note("listens")
                async for found in connection.notifies(stop_after=1):
                    return found.payload
            finally:
                await connection.execute("unlisten *")
                await connection.set_autocommit(False)

    async def async_gathered(environ):
        # Statements of one request, each on a connection of its own, all at once.
        return await asyncio.gather(*(given("select %s::int * 2", number) for number in range(10)))

    async def async_copied(environ):
        async with connected() as connection:
            await connection.execute("create temp table copied (number int) on commit drop")
            async with connection.cursor().copy("copy copied from stdin") as copy:
                for number in range(20000):
                    await copy.write_row((number,))
            cursor = await connection.execute("select sum(number) from copied")
            return int((await cursor.fetchone())[0])
    """


def started(nginx, database, **env):
    return serve_driver(nginx, database, "psycopg", APP, **env)


def test_wait_and_respond(database, nginx):
    server = started(nginx, database)
    for number in range(5):
        assert server.get(f"/given?n{number}").json() == f"n{number}!"
        assert server.get(f"/wait?n{number}").text == f"n{number}?"
    assert server.get("/twice").text == "20,42"
    assert server.get("/gathered").json() == [2 * number for number in range(10)]
    assert server.get("/copied").json() == sum(range(20000))


def test_errors_of_the_database(database, nginx):
    server = started(nginx, database)
    answer = server.get("/wrong")
    assert (answer.status, answer.text) == (400, 'column "wrong" does not exist')
    since = server.log_size()
    assert server.get("/unhandled").status == 500
    server.wait_for_log("DivisionByZero: division by zero", since=since)
    assert server.get("/given?after").json() == "after!"


def test_hundred_requests_in_a_pool_of_twenty(database, nginx):
    server = started(nginx, database)
    found = answers(ask(server, *["/busy"] * 100))
    assert {answer.status for answer in found} == {200}, server.tail()
    assert 2 <= len({answer.json() for answer in found}) <= 20
    # They really were at it at the same time, and never more than there are connections.
    most = max(int(line.split()[1]) for line in notes(server, "busy"))
    assert 2 <= most <= 20
    stats = server.get("/stats").json()
    assert stats["pool_size"] <= 20 and stats.get("requests_errors", 0) == 0
    assert stats["requests_num"] >= 100


def test_a_pool_that_is_exhausted_makes_requests_wait(database, nginx):
    server = started(nginx, database, SIZE=2)
    holder = database.connect()
    holder.execute("select pg_advisory_lock(7)")
    clients = ask(server, *["/lock?7"] * 5)
    database.wait_running("pg_advisory_xact_lock", 2)
    wait_for(lambda: server.get("/stats").json()["requests_waiting"] == 3, "three wait for a connection")
    # The worker itself waits for nobody.
    assert server.get("/stats").status == 200
    holder.execute("select pg_advisory_unlock(7)")
    found = answers(clients)
    assert [answer.status for answer in found] == [200] * 5
    assert len({answer.json() for answer in found}) <= 2


def test_a_pool_that_is_exhausted_for_too_long(database, nginx):
    server = started(nginx, database, SIZE=1, TIMEOUT="0.2")
    wait_for(lambda: server.get("/given?first").status == 200, "a connection, on a machine however slow")
    holder = database.connect()
    holder.execute("select pg_advisory_lock(8)")
    first, = ask(server, "/lock?8")
    database.wait_running("pg_advisory_xact_lock")
    answer = server.get("/lock?8")
    assert (answer.status, answer.text) == (503, "no connection is free")
    holder.execute("select pg_advisory_unlock(8)")
    assert first.read_response().status == 200


def test_rows_are_streamed(database, nginx):
    server = started(nginx, database, SIZE=1)
    assert server.get("/rows?50000").body == b"".join(b"%d," % number for number in range(1, 50001))
    # A client that leaves in the middle: its connection, the only one, is free again.
    gone = server.connect(rcvbuf=4096)
    gone.send_request("GET", "/rows?100000000")
    gone.read_head()
    gone.reset()
    wait_notes(server, "rows ended", 2)
    assert server.get("/given?next").json() == "next!"
    assert server.get("/stats").json()["pool_size"] == 1


def test_notifications(database, nginx):
    """Long polling: a request rests until PostgreSQL has news for it."""
    server = started(nginx, database)
    clients = ask(server, *["/listen"] * 3)
    wait_notes(server, "listens", 3)
    database.execute("select pg_notify('news', 'extra')")
    assert [answer.json() for answer in answers(clients)] == ["extra"] * 3
