"""Clients that leave at any moment, while applications wait for databases and servers: nothing of them stays behind."""

import random
import threading
import time

import pytest

from harness.apps import settled
from harness.asynchronous import BOTH, CLIENTS, DRIVERS, FETCHING, answers, ask, serve
from harness.nginx import open_fds, wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """

import gc


async def async_transaction(environ):
    async with connected() as connection, begun(connection):
        await run(connection, "select pg_sleep(0.005)")
        await run(connection, "update counter set value = value + 1")
        note("counted")


async def async_tasks(environ):
    return len(asyncio.all_tasks())


async def async_objects(environ):
    gc.collect()
    return len(gc.get_objects())
"""

TARGETS = ("/transaction", "/fetch?{url}/wait?always", "/fetch?{url}/wait?never", "/stream?{url}/bytes?300000",
           "/value?select%201")


class Visitors(threading.Thread):
    """One after the other; half of them leave a few milliseconds after they have asked."""

    def __init__(self, server, upstream, seed):
        super().__init__()
        self.server, self.upstream = server, upstream
        self.random = random.Random(seed)
        self.problems = []

    def run(self):
        for _ in range(40):
            target = self.random.choice(TARGETS).format(url=self.upstream.url)
            try:
                self.visit(target)
            except Exception as error:
                self.problems.append(f"{target}: {error!r}")

    def visit(self, target):
        client = self.server.connect(timeout=30)
        client.send_request("GET", target)
        if "never" in target or self.random.random() < 0.5:
            time.sleep(self.random.random() * 0.03)
            self.random.choice((client.reset, client.close))()
            return
        answer = client.read_response()
        if answer.status != 200:
            self.problems.append(f"{target}: {answer}")
        client.close()


@pytest.mark.parametrize("driver, client", [("psycopg", "aiohttp"), ("asyncpg", "httpx")])
def test_nothing_is_left(database, nginx, upstream, driver, client):
    database.execute("create table counter (value int)")
    database.execute("insert into counter values (0)")
    text = "import ssl\n" + DRIVERS[driver] + CLIENTS[client].replace("ERRORS", "CLIENT_ERRORS") + BOTH + FETCHING + APP
    server = serve(nginx, text, (driver, client), env={"PGHOST": database.postgres.folder, "PGDATABASE": database.name,
                                                       "SIZE": 4, "LIMIT": 20})
    upstream.let("always", 1000000)

    def work(number):
        visitors = [Visitors(server, upstream, seed) for seed in range(number, number + 8)]
        for thread in visitors:
            thread.start()
        for thread in visitors:
            thread.join()
        return [problem for thread in visitors for problem in thread.problems]

    def held():
        return len(open_fds(server.worker))

    assert work(0) == [], server.tail()
    tasks, objects, before = (settled(lambda: server.get("/tasks").json()), server.get("/objects").json(), held())
    assert work(100) == [], server.tail()
    wait_for(lambda: server.get("/tasks").json() <= tasks + 2, lambda: f"{tasks}: {server.get('/tasks').json()}")
    # Both pools have as many connections as they want by now.
    assert held() <= before + 24
    assert server.get("/objects").json() < objects + 3000
    # Whoever was answered has been counted, and of the others nothing is half done.
    counted, = database.execute("select value from counter")[0]
    noted = (server.folder / "notes").read_text().splitlines().count("counted")
    assert 0 < counted <= noted
    assert [answer.status for answer in answers(ask(server, *["/transaction"] * 8))] == [200] * 8
    assert database.execute("select value from counter") == [(counted + 8,)]
