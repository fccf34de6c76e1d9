"""asyncpg on nginx's event loop: its own protocol on asyncio's transports, and a pool."""

import pytest

from harness.apps import notes, wait_notes
from harness.asynchronous import answers, ask, serve_driver

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    busy = set()

    async def async_busy(environ):
        async with connected() as connection:
            busy.add(connection)
            note("busy", len(busy))
            await connection.execute("select pg_sleep(0.02)")
            busy.discard(connection)
            return await connection.fetchval("select pg_backend_pid()")

    async def async_prepared(environ):
        async with connected() as connection:
            statement = await connection.prepare("select $1::int * 2")
            return [await statement.fetchval(number) for number in range(50)]

    async def rows(count):
        try:
            async with connected() as connection, begun(connection):
                async for row in connection.cursor("select generate_series(1, $1::int)", count, prefetch=500):
                    yield b"%d," % row[0]
        finally:
            note("rows ended")

    async def async_rows(environ):
        return "200 OK", PLAIN, rows(int(query(environ)))

    async def async_listen(environ):
        async with connected() as connection:
            heard = asyncio.get_running_loop().create_future()
            def hear(connection, pid, channel, payload):
                if not heard.done():
                    heard.set_result(payload)
            await connection.add_listener("news", hear)
            note("listens")
            try:
                return await heard
            finally:
                await connection.remove_listener("news", hear)

    async def async_copied(environ):
        async with connected() as connection, begun(connection):
            await connection.execute("create temp table copied (number int) on commit drop")
            await connection.copy_records_to_table("copied", records=[(number,) for number in range(20000)])
            return await connection.fetchval("select sum(number)::int from copied")

    async def async_grouped(environ):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(value(f"select {number} * 2")) for number in range(10)]
        return [task.result() for task in tasks]
    """


@pytest.fixture
def server(database, nginx):
    return serve_driver(nginx, database, "asyncpg", APP)


def test_statements(server):
    assert server.get("/prepared").json() == [2 * number for number in range(50)]
    assert server.get("/copied").json() == sum(range(20000))
    assert server.get("/grouped").json() == [2 * number for number in range(10)]


def test_hundred_requests_in_a_pool_of_twenty(database, server):
    found = answers(ask(server, *["/busy"] * 100))
    assert {answer.status for answer in found} == {200}, server.tail()
    assert 2 <= len({answer.json() for answer in found}) <= 20
    assert 2 <= max(int(line.split()[1]) for line in notes(server, "busy")) <= 20
    assert {answer.json() for answer in found} <= set(database.backends())


def test_rows_are_streamed(database, server):
    assert server.get("/rows?20000").body == b"".join(b"%d," % number for number in range(1, 20001))
    gone = server.connect(rcvbuf=4096)
    gone.send_request("GET", "/rows?100000000")
    gone.read_head()
    gone.reset()
    wait_notes(server, "rows ended", 2)
    # Its transaction is over.
    database.wait_running("", 0)
    assert server.get("/value?select%2042").json() == 42


def test_notifications(database, server):
    clients = ask(server, *["/listen"] * 3)
    wait_notes(server, "listens", 3)
    database.execute("select pg_notify('news', 'extra')")
    assert [answer.json() for answer in answers(clients)] == ["extra"] * 3
