"""Asks PostgreSQL with psycopg 3: as many requests as there are, with five connections for each worker.

The coroutines run on an asyncio loop that nginx's own event loop drives, one for each worker. While a query runs, or
all connections are taken, the request is suspended. A client that leaves cancels its coroutine, and psycopg then
cancels the query: PostgreSQL does not work for nobody.
"""

import os
import time

import psycopg
import psycopg_pool
from ngx_wsgi.asyncio import respond

TABLE = "create table if not exists visits (at timestamptz default now(), worker int)"

_pool = None


def application(environ, start_response):
    return respond(environ, start_response, answer(environ))


async def answer(environ):
    """What start_response wants, and the body."""
    status, text = "200 OK", None
    try:
        if environ["PATH_INFO"] == "/slow":
            text = await slow(environ)
        elif environ["PATH_INFO"] in ("", "/"):
            text = await visit(environ)
        else:
            status, text = "404 Not Found", "There are /asyncio_postgres and /asyncio_postgres/slow?seconds=2.\n"
    except psycopg.OperationalError as error:
        # It is not there, or nobody got a connection in time. The pool goes on trying.
        status, text = "503 Service Unavailable", f"PostgreSQL does not answer: {error}\n"
    body = text.encode()
    return status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))], body


async def visit(environ):
    """One transaction: it is committed at the end of the block, and rolled back if there is an exception."""
    async with (await pool(environ)).connection() as connection:
        await connection.execute("insert into visits (worker) values (%s)", [os.getpid()])
        cursor = await connection.execute("select worker, count(*), max(at) from visits group by worker order by 3")
        rows = await cursor.fetchall()
    return "".join(f"worker {worker}: {count} visits, the last one {at:%Y-%m-%d %H:%M:%S}\n"
                   for worker, count, at in rows)


async def slow(environ):
    """A query that takes its time."""
    started = time.monotonic()
    connections = await pool(environ)
    async with connections.connection() as connection:
        waited = time.monotonic() - started
        others = connections.get_stats()["requests_waiting"]
        await connection.execute("select pg_sleep(%s)", [wanted(environ["QUERY_STRING"])])
    return (f"Waited {waited:.3f} s for a connection, {time.monotonic() - started - waited:.3f} s for PostgreSQL; "
            f"{others} others were waiting for a connection of worker {os.getpid()}.\n")


async def pool(environ):
    """The pool of this worker. Importing this file, as `nginx -t` may do, connects to nothing."""
    global _pool
    if _pool is None:
        _pool = psycopg_pool.AsyncConnectionPool(environ["postgres.conninfo"], min_size=1, max_size=5, open=False,
                                                 configure=prepare, timeout=15, reconnect_timeout=5)
    await _pool.open()                  # does nothing from the second time on
    return _pool


async def prepare(connection):
    """Called for each new connection. Two that make the same table at once would hinder each other: one at a time."""
    async with connection.transaction():
        await connection.execute("set local client_min_messages = warning")
        await connection.execute("select pg_advisory_xact_lock(20071004)")
        await connection.execute(TABLE)


def wanted(query):
    """The number in seconds=..., between 0 and 30."""
    try:
        return min(max(float(query.partition("seconds=")[2].partition("&")[0]), 0), 30)
    except ValueError:
        return 1
