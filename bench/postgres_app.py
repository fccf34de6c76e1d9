"""One query, for bench/postgres.py: as a WSGI application in the module, as an ASGI application in other servers.

The same coroutine with the same driver and the same pool in all of them; only what is around it differs. The driver is
in os.environ["DRIVER"], psycopg or asyncpg.
"""

import os

ROWS = 1000
POOL = 20
SETUP = f"""
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(0, {ROWS - 1}) n;
    ANALYZE item;
"""

pool = None


async def by_psycopg(number):
    global pool
    if pool is None:
        from psycopg_pool import AsyncConnectionPool
        made = AsyncConnectionPool(os.environ["CONNINFO"], min_size=POOL, max_size=POOL, open=False,
                                   kwargs={"autocommit": True})
        pool = made
        await made.open(wait=True)
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT name FROM item WHERE id = %s", (number,))
        return (await cursor.fetchone())[0]


opening = None


async def by_asyncpg(number):
    global pool, opening
    if pool is None:
        import asyncio

        import asyncpg
        if opening is None:
            host, user, database = (word.partition("=")[2] for word in os.environ["CONNINFO"].split())
            opening = asyncio.ensure_future(asyncpg.create_pool(host=host, user=user, database=database, min_size=POOL,
                                                                max_size=POOL))
        pool = await opening
    return await pool.fetchval("SELECT name FROM item WHERE id = $1", number)


find = by_asyncpg if os.environ.get("DRIVER") == "asyncpg" else by_psycopg


async def answer():
    # Not always the same row, and the same sequence everywhere.
    answer.number = (answer.number + 7) % ROWS
    name = await find(answer.number)
    body = f'{{"name": "{name}"}}'.encode()
    return body


answer.number = 0


async def page():
    body = await answer()
    return "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body


def wsgi(environ, start_response):
    from ngx_wsgi.asyncio import respond
    return respond(environ, start_response, page())


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = await answer()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
