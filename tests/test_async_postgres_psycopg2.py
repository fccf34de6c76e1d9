"""psycopg2, which knows no event loop but can be polled: through x-wsgiorg.fdevent and through ngx.poll."""

import pytest

from harness.apps import wait_notes
from harness.asynchronous import answers, ask, serve

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    import psycopg2
    import psycopg2.extensions as ext

    # The connections that no request has: each is used again by the next one.
    free = []

    class Late(Exception):
        pass

    def by_fdevent(environ, connection, seconds):
        '''Suspends until what the connection is about to do is done.'''
        while True:
            state = connection.poll()
            if state == ext.POLL_OK:
                return
            wanted = "readable" if state == ext.POLL_READ else "writable"
            yield environ["x-wsgiorg.fdevent." + wanted](connection, seconds)
            if seconds and environ["x-wsgiorg.fdevent.timeout"]:
                raise Late

    def by_poll(environ, connection, seconds):
        while True:
            state = connection.poll()
            if state == ext.POLL_OK:
                return
            flags = environ["ngx.WSGI_POLLIN" if state == ext.POLL_READ else "ngx.WSGI_POLLOUT"]
            wrapped = environ["ngx.connection_wrapper"](connection.fileno())
            environ["ngx.poll_register"](wrapped, flags)
            found = environ["ngx.poll"](seconds and round(seconds * 1000))
            yield b""
            fired = found()
            environ["ngx.poll_unregister"](wrapped)
            if fired == (None, 0):
                raise Late
            assert fired[0] is wrapped and fired[1] & flags, fired

    def ready(environ, connection, seconds=None):
        return (by_poll if "poll" in environ["PATH_INFO"] else by_fdevent)(environ, connection, seconds)

    def run(environ, statement, values=None, seconds=None):
        '''A statement on a connection of this request's; gives the cursor, or whatever went wrong.'''
        connection = free.pop() if free else psycopg2.connect(os.environ["CONNINFO"], async_=True)
        try:
            yield from ready(environ, connection)
            cursor = connection.cursor()
            cursor.execute(statement, values)
            yield from ready(environ, connection, seconds)
        except psycopg2.ProgrammingError:
            free.append(connection)
            raise
        except BaseException:
            # The client left (GeneratorExit), or it took too long: PostgreSQL shall stop as well.
            note("cancel")
            connection.cancel()
            connection.close()
            raise
        free.append(connection)
        return cursor

    def plain(start_response, value, status="200 OK"):
        start_response(status, PLAIN)
        return value if isinstance(value, bytes) else json.dumps(value).encode()

    def at_value(environ, start_response):
        cursor = yield from run(environ, query(environ))
        yield plain(start_response, cursor.fetchone()[0])

    def at_error(environ, start_response):
        try:
            yield from run(environ, "select wrong")
        except psycopg2.ProgrammingError as error:
            yield plain(start_response, error.diag.message_primary, "400 Bad Request")

    def at_late(environ, start_response):
        try:
            yield from run(environ, "select pg_sleep(300)::text", seconds=0.1)
        except Late:
            yield plain(start_response, b"late", "504 Gateway Timeout")

    def at_large(environ, start_response):
        # More than the buffers of the socket hold, in both directions.
        cursor = yield from run(environ, "select %s::text || 'end'", ["x" * 5000000])
        yield plain(start_response, len(cursor.fetchone()[0]))

    def at_in_between(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range(3):
            cursor = yield from run(environ, "select %s * 2, pg_sleep(0.01)::text", [number])
            yield b"%d," % cursor.fetchone()[0]

    def at_news(environ, start_response):
        connection = psycopg2.connect(os.environ["CONNINFO"], async_=True)
        try:
            yield from ready(environ, connection)
            cursor = connection.cursor()        # kept: poll() needs it
            cursor.execute("listen news")
            yield from ready(environ, connection)
            note("listens")
            while not connection.notifies:
                yield environ["x-wsgiorg.fdevent.readable"](connection)
                connection.poll()
            yield plain(start_response, connection.notifies[0].payload)
        finally:
            connection.close()

    def at_stats(environ, start_response):
        return answer(start_response, [len(free), len({connection.fileno() for connection in free})])
    """


# How the driver waits: x-wsgiorg.fdevent, or ngx.poll.
WAYS = ("fdevent", "poll")


@pytest.fixture
def server(database, nginx):
    return serve(nginx, APP, ("psycopg2",), env={"CONNINFO": database.conninfo})


def test_values_and_errors(server):
    for way in WAYS:
        for number in range(5):
            assert server.get(f"/value/{way}?select%20{number}").json() == number
        answer = server.get(f"/error/{way}")
        assert (answer.status, answer.json()) == (400, 'column "wrong" does not exist')
        assert server.get(f"/in_between/{way}").text == "0,2,4,"
    # One connection was enough for all of them.
    assert server.get("/stats").json() == [1, 1]


@pytest.mark.parametrize("way", WAYS)
def test_requests_wait_side_by_side(database, server, way):
    holder = database.connect()
    holder.execute("select pg_advisory_lock(5)")
    clients = ask(server, *[f"/value/{way}?select%20pg_advisory_xact_lock_shared(5)::text"] * 20)
    database.wait_running("pg_advisory_xact_lock_shared", 20)
    assert server.get(f"/value/{way}?select%201").json() == 1
    holder.execute("select pg_advisory_unlock(5)")
    assert [answer.status for answer in answers(clients)] == [200] * 20
    assert server.get("/stats").json() == [21, 21]
    # Descriptors that others waited for are waited for again.
    for _ in range(3):
        found = answers(ask(server, *[f"/value/{way}?select%20{number}" for number in range(20)]))
        assert [answer.json() for answer in found] == list(range(20))


def test_more_than_a_socket_holds(server):
    for way in WAYS:
        assert server.get(f"/large/{way}").json() == 5000003


def test_a_time_limit(database, server):
    for way in WAYS * 2:
        assert server.get(f"/late/{way}").status == 504
        database.wait_running("pg_sleep", 0)
        assert server.get(f"/value/{way}?select%201").json() == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_client_leaves(database, server, way):
    clients = ask(server, *[f"/value/{way}?select%20pg_sleep(300)::text"] * 3)
    database.wait_running("pg_sleep", 3)
    clients[1].reset()
    wait_notes(server, "cancel")
    database.wait_running("pg_sleep", 2)
    # The descriptor that was closed in close() goes to the next connection at once.
    assert server.get(f"/value/{way}?select%201").json() == 1
    for client in (clients[0], clients[2]):
        client.close()
    wait_notes(server, "cancel", 3)
    database.wait_running("pg_sleep", 0)
    assert server.get(f"/value/{way}?select%201").json() == 1


def test_notifications(database, server):
    clients = ask(server, *["/news"] * 3)
    wait_notes(server, "listens", 3)
    database.execute("select pg_notify('news', 'extra')")
    assert [answer.json() for answer in answers(clients)] == ["extra"] * 3
