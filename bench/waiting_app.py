"""What bench/waiting.py asks for: requests that wait for a timer, for a descriptor of their own, or for the database.

How long is in the query, in milliseconds; of the database, how long the query itself takes.
"""

import gc
import os

import ngx_reactor

BODY = b"Hello, World!"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "13")]
POOL = 20

# The collector of cycles goes through the objects of requests that wait, again and again, and the worker answers nobody
# meanwhile. COLLECTOR=1 shows how long.
if os.environ["COLLECTOR"] == "0":
    gc.disable()

waiting = 0
pool = None


def count(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(waiting).encode()]


def timer(environ, start_response):
    global waiting
    waiting += 1
    try:
        environ["x-wsgiorg.suspend"](int(environ["QUERY_STRING"]))
        yield b""
    finally:
        waiting -= 1
    start_response("200 OK", HEADERS)
    yield BODY


def descriptor(environ, start_response):
    """An eventfd of its own, which something else writes to after that time."""
    global waiting
    waiting += 1
    fd = os.eventfd(0)
    other = ngx_reactor.add_timer(lambda: os.eventfd_write(fd, 7), int(environ["QUERY_STRING"]))
    try:
        yield environ["x-wsgiorg.fdevent.readable"](fd)
        assert os.eventfd_read(fd) == 7
    finally:
        waiting -= 1
        ngx_reactor.del_timer(other)
        os.close(fd)
    start_response("200 OK", HEADERS)
    yield BODY


def database(environ, start_response):
    from ngx_wsgi.asyncio import respond
    return respond(environ, start_response, query(int(environ["QUERY_STRING"]) / 1000))


async def query(seconds):
    global pool, waiting
    waiting += 1
    try:
        if pool is None:
            from psycopg_pool import AsyncConnectionPool
            # All of these wait for a connection of the pool most of the time; no limit but the server's.
            pool = AsyncConnectionPool(os.environ["CONNINFO"], min_size=POOL, max_size=POOL, open=False, timeout=300,
                                       kwargs={"autocommit": True})
            await pool.open()
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_sleep(%s)", (seconds,))
    finally:
        waiting -= 1
    return "200 OK", HEADERS, BODY
