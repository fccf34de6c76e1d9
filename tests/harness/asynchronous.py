"""Applications that wait on nginx's event loop: a prelude for them, and the Python that has what they import."""

import functools
import importlib.util
import subprocess
import sys
import textwrap

from . import apps
from .nginx import PYTHON

PRELUDE = '''
import asyncio
import contextlib
import urllib.parse

import ngx_wsgi.asyncio
from ngx_wsgi.asyncio import respond, wait


def query(environ):
    return urllib.parse.unquote(environ["QUERY_STRING"])


async def answered(function, environ):
    """What `respond` expects, from bytes, from anything as JSON, or from (status, headers, body)."""
    value = await function(environ)
    if isinstance(value, tuple):
        return value
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))], body


def application(environ, start_response):
    """/name: `async_name(environ)` is a coroutine whose value is the answer, `at_name` a plain application."""
    name = environ["PATH_INFO"].split("/")[1]
    if "async_" + name in globals():
        return respond(environ, start_response, answered(globals()["async_" + name], environ))
    return globals()["at_" + name](environ, start_response)
'''


@functools.cache
def _tested_version():
    return subprocess.run([PYTHON, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True,
                          text=True).stdout.strip()


def interpreter(*modules):
    """A directive: the Python of this test run, which has the packages of tests/requirements.txt."""
    missing = [name for name in modules if not importlib.util.find_spec(name)]
    if missing or str(sys.version_info[:2]) != _tested_version():
        raise RuntimeError(f"{sys.executable} is not the tested Python {_tested_version()} with {', '.join(modules)}: "
                           "run the tests by build/venv/bin/python, which `make venv` fills.")
    return f"wsgi_python_executable {sys.executable};"


def serve(nginx, text, modules=("psycopg",), http="", env=None, **options):
    """A server with `app.py` at / and all of `env` in os.environ. Pools keep descriptors, so they are not counted."""
    settings = " ".join(f'wsgi_env {name} "{value}";' for name, value in (env or {}).items())
    options.setdefault("check_fds", False)
    return apps.serve(nginx, PRELUDE + textwrap.dedent(text), http=f"{interpreter(*modules)} {settings} {http}",
                      **options)


def ask(server, *targets):
    """A client for each target, its request sent."""
    clients = []
    for target in targets:
        clients.append(server.connect())
        clients[-1].send_request("GET", target)
    return clients


def answers(clients):
    """The responses of clients that asked."""
    return [client.read_response() for client in clients]


# The same four names for each driver with a pool: `connected()` and `begun(connection)` are for `async with`,
# `run(connection, statement)` gives nothing, `one(connection, statement)` the first value. SIZE and TIMEOUT of
# os.environ are those of the pool; ERRORS is what a driver raises where there is no database.
DRIVERS = {
    "psycopg": '''
import psycopg
import psycopg.errors as errors
import psycopg_pool

pool = psycopg_pool.AsyncConnectionPool(
    f"host={os.environ['PGHOST']} user=tester dbname={os.environ['PGDATABASE']}", min_size=1, open=False,
    max_size=int(os.environ.get("SIZE", 20)), timeout=float(os.environ.get("TIMEOUT", 30)))
ERRORS = (psycopg.OperationalError,)


@contextlib.asynccontextmanager
async def connected():
    await pool.open()
    async with pool.connection() as connection:
        yield connection


async def run(connection, statement):
    await connection.execute(statement)


async def one(connection, statement):
    return (await (await connection.execute(statement)).fetchone())[0]
''',
    "asyncpg": '''
import asyncpg
import asyncpg.exceptions as errors

pool = None
pool_made = asyncio.Lock()
errors.UniqueViolation = errors.UniqueViolationError
ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@contextlib.asynccontextmanager
async def connected():
    global pool
    # It does not let two tasks initialize it.
    async with pool_made:
        if pool is None:
            pool = await asyncpg.create_pool(
                host=os.environ["PGHOST"], user="tester", database=os.environ["PGDATABASE"], min_size=1,
                max_size=int(os.environ.get("SIZE", 20)), timeout=float(os.environ.get("TIMEOUT", 30)))
    async with pool.acquire() as connection:
        yield connection


async def run(connection, statement):
    await connection.execute(statement)


async def one(connection, statement):
    return await connection.fetchval(statement)
''',
}

BOTH = '''

def begun(connection):
    return connection.transaction()


async def value(statement):
    async with connected() as connection:
        return await one(connection, statement)


async def async_value(environ):
    return await value(query(environ))


async def async_backend(environ):
    return await value("select pg_backend_pid()")
'''


def serve_driver(nginx, database, driver, text, server=apps.EVERYTHING, options=None, **env):
    """`serve`, with one of DRIVERS and a pool of connections to a database; `env` is for os.environ."""
    modules = {"psycopg": ("psycopg", "psycopg_pool"), "asyncpg": ("asyncpg",)}[driver]
    env = {"PGHOST": database.postgres.folder, "PGDATABASE": database.name, **env}
    return serve(nginx, DRIVERS[driver] + BOTH + textwrap.dedent(text), modules, server=server, env=env,
                 **(options or {}))


# The same names for both HTTP clients: `fetch(url)` gives (status, body), `blocks(url)` is an asynchronous generator of
# the body. TIMEOUT of os.environ are seconds for a whole request, CA a file with the authority to trust, LIMIT the
# number of connections. ERRORS is what they raise for a server that is bad, TIMEOUTS for one that is slow.
CLIENTS = {
    "aiohttp": '''
import aiohttp

session = None
ERRORS = (aiohttp.ClientError,)
TIMEOUTS = (asyncio.TimeoutError,)


def client():
    """One for the worker. It wants to be made where the loop is running, so not with the module."""
    global session
    if session is None:
        trust = ssl.create_default_context(cafile=os.environ.get("CA"))
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=int(os.environ.get("LIMIT", 100))),
            timeout=aiohttp.ClientTimeout(total=float(os.environ.get("TIMEOUT", 30))))
    return session


async def fetch(url, method="GET", **options):
    async with client().request(method, url, **options) as response:
        return response.status, await response.read()


async def blocks(url):
    async with client().get(url) as response:
        async for block in response.content.iter_any():
            yield block
''',
    "httpx": '''
import httpx

session = None
ERRORS = (httpx.TransportError,)
TIMEOUTS = (httpx.TimeoutException,)


def client():
    global session
    if session is None:
        limit = int(os.environ.get("LIMIT", 100))
        session = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=os.environ.get("CA")), trust_env=False,
            limits=httpx.Limits(max_connections=limit, max_keepalive_connections=limit),
            timeout=float(os.environ.get("TIMEOUT", 30)))
    return session


async def fetch(url, method="GET", **options):
    response = await client().request(method, url, **options)
    return response.status_code, response.content


async def blocks(url):
    async with client().stream("GET", url) as response:
        async for block in response.aiter_bytes():
            yield block
''',
}

FETCHING = '''

async def async_fetch(environ):
    """The body that is found at the URL in the query string; its status, if it is another one than 200."""
    status, body = await fetch(query(environ))
    return body if status == 200 else status


async def async_stream(environ):
    async def passed():
        try:
            async for block in blocks(query(environ)):
                yield block
        finally:
            note("stream ended")
    return "200 OK", PLAIN, passed()
'''


def serve_client(nginx, client, text="", server=apps.EVERYTHING, env=None, **options):
    """`serve`, with one of CLIENTS: /fetch?URL and /stream?URL, and what `text` adds."""
    return serve(nginx, "import ssl\n" + CLIENTS[client] + FETCHING + textwrap.dedent(text), (client,), server=server,
                 env=env, **options)
