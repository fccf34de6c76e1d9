"""Drivers in interpreters of their own: each has its loop, its pool and its tasks."""

import pytest

from harness.apps import PRELUDE as NOTES
from harness.asynchronous import BOTH, DRIVERS, PRELUDE, answers, ask, interpreter

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """

async def async_lock(environ):
    async with connected() as connection:
        await run(connection, "select pg_advisory_xact_lock_shared(3)")
        return [id(ngx_wsgi.asyncio.get_loop()), id(asyncio), await one(connection, "select pg_backend_pid()")]
"""

POLLED = '''
def at_value(environ, start_response):
    import psycopg2.extensions
    connection = psycopg2.connect(f"host={os.environ['PGHOST']} user=tester dbname={os.environ['PGDATABASE']}",
                                  async_=True)
    def ready():
        while state := connection.poll():
            wanted = "readable" if state == psycopg2.extensions.POLL_READ else "writable"
            yield environ["x-wsgiorg.fdevent." + wanted](connection)
    yield from ready()
    cursor = connection.cursor()
    cursor.execute(query(environ))
    yield from ready()
    value = cursor.fetchone()[0]
    connection.close()
    yield from answer(start_response, value)
'''

LOCATIONS = """
    wsgi_enable_subinterpreters on;
    location /one/ { wsgi_pass one.py; }
    location /two/ { wsgi_pass two.py; }
"""


def start(nginx, database, text, modules, **env):
    env = {"PGHOST": database.postgres.folder, "PGDATABASE": database.name, **env}
    settings = " ".join(f'wsgi_env {name} "{value}";' for name, value in env.items())
    text = NOTES + PRELUDE + text
    return nginx(LOCATIONS, apps={"one.py": text, "two.py": text}, http=f"{interpreter(*modules)} {settings}",
                 check_fds=False)


@pytest.mark.parametrize("driver, modules, env", [
    # By ctypes, without its C part.
    ("psycopg", ("psycopg", "psycopg_pool"), {"PSYCOPG_IMPL": "python"}),
    ("asyncpg", ("asyncpg",), {}),
])
def test_pools_in_two_interpreters(database, nginx, driver, modules, env):
    server = start(nginx, database, DRIVERS[driver] + BOTH + APP, modules, **env)
    for _ in range(2):
        assert server.get("/one/value?select%201").json() == 1, server.tail()
        assert server.get("/two/value?select%202").json() == 2, server.tail()
    holder = database.connect()
    holder.execute("select pg_advisory_lock(3)")
    clients = ask(server, *["/one/lock", "/two/lock"] * 4)
    database.wait_running("pg_advisory_xact_lock_shared", 8)
    # Eight tasks wait, on two loops, in one thread.
    assert server.get("/one/value?select%203").json() == 3
    holder.execute("select pg_advisory_unlock(3)")
    found = [answer.json() for answer in answers(clients)]
    assert len({loop for loop, _, _ in found}) == 2 and len({module for _, module, _ in found}) == 2
    assert len({backend for _, _, backend in found}) == 8


def test_psycopg2_in_two_interpreters(database, nginx):
    server = start(nginx, database, POLLED, ("psycopg2",))
    for _ in range(2):
        assert server.get("/one/value?select%201").json() == 1, server.tail()
        assert server.get("/two/value?select%202").json() == 2, server.tail()
