"""PostgreSQL goes away and comes back while requests wait for it: errors meanwhile, and a worker that lives."""

import pytest

from harness.asynchronous import answers, ask, serve, serve_driver
from harness.nginx import wait_for
from harness.postgres import Database, Postgres, program

pytestmark = [pytest.mark.inline_only, pytest.mark.once,
              pytest.mark.skipif(program("postgres") is None, reason="PostgreSQL is not installed")]

PSYCOPG2 = """
    import psycopg2
    import psycopg2.extensions as ext

    ERRORS = (psycopg2.OperationalError, psycopg2.InterfaceError)

    def ready(environ, connection):
        while True:
            state = connection.poll()
            if state == ext.POLL_OK:
                return
            yield environ["x-wsgiorg.fdevent." + ("readable" if state == ext.POLL_READ else "writable")](connection)

    def at_value(environ, start_response):
        connection = None
        try:
            try:
                connection = psycopg2.connect(os.environ["CONNINFO"], async_=True)
                yield from ready(environ, connection)
                cursor = connection.cursor()
                cursor.execute(query(environ))
                yield from ready(environ, connection)
                status, text = "200 OK", str(cursor.fetchone()[0])
            except ERRORS as error:
                status, text = "503 Service Unavailable", "no database: " + type(error).__name__
            start_response(status, PLAIN)
            yield text.encode()
        finally:
            if connection:
                connection.close()
    """

APP = """
    async def async_value(environ):
        try:
            return str(await value(query(environ))).encode()
        except ERRORS as error:
            return "503 Service Unavailable", PLAIN, b"no database: " + type(error).__name__.encode()
    """


@pytest.fixture
def postgres(folder):
    server = Postgres(folder)
    yield server
    server.stop()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "psycopg2"])
def test_restart_in_the_middle(postgres, nginx, driver):
    database = Database(postgres)
    locations = "location / { wsgi_pass app.py; } location = /ok { return 200 ok; }"
    if driver == "psycopg2":
        server = serve(nginx, PSYCOPG2, ("psycopg2",), server=locations, env={"CONNINFO": database.conninfo})
    else:
        server = serve_driver(nginx, database, driver, APP, locations, SIZE=10, TIMEOUT=2)
    worker = server.worker
    wait_for(lambda: server.get("/value?select%2042").text == "42", "a connection, on a machine however slow")
    waiting = ask(server, *["/value?select%20pg_sleep(300)::text"] * 8)
    database.wait_running("pg_sleep", 8)

    postgres.stop()
    # All who waited hear of it at once, each with an answer of its own.
    for answer in answers(waiting):
        assert answer.status == 503 and answer.text.startswith("no database: "), answer
    # Nobody waits for what is not there, and everything else goes on.
    for answer in answers(ask(server, *["/value?select%2042"] * 8)):
        assert answer.status == 503 and answer.text.startswith("no database: "), answer
    assert server.get("/ok").text == "ok"

    postgres.start()
    wait_for(lambda: server.get("/value?select%2042").status == 200, lambda: f"it works again\n{server.tail()}")
    assert [answer.text for answer in answers(ask(server, *["/value?select%2043"] * 20))] == ["43"] * 20
    assert server.worker == worker
