"""The examples whose applications are clients: of PostgreSQL by asyncio, and of other servers by Twisted."""

import re

import pytest

from harness.asynchronous import answers, ask
from harness.nginx import wait_for
from harness.postgres import Database, Postgres, program

pytestmark = pytest.mark.once

SLOW = r"Waited (\d+\.\d{3}) s for a connection, (\d+\.\d{3}) s for PostgreSQL; (\d+) others .* of worker (\d+)\.\n"


@pytest.fixture(scope="module")
def database(site):
    if program("postgres") is None:
        pytest.skip("PostgreSQL is not installed")
    postgres = Postgres(site.folder)
    database = Database(postgres)
    database.execute("create role examples login superuser")
    yield database
    postgres.stop()


def test_postgres_visits(site, database):
    found = answers(ask(site, *["/asyncio_postgres"] * 20))
    assert {answer.status for answer in found} == {200}, site.tail()
    page = site.get("/asyncio_postgres/").text
    counts = re.findall(r"^worker (\d+): (\d+) visits, the last one [\d-]+ [\d:]+$", page, re.MULTILINE)
    assert {int(worker) for worker, _ in counts} <= set(site.workers())
    assert sum(int(count) for _, count in counts) == 21
    assert database.execute("select count(*) from visits") == [(21,)]


def test_postgres_slow_queries(site, database):
    """Two workers with five connections each, and more who want one."""
    clients = ask(site, *["/asyncio_postgres/slow?seconds=0.3"] * 30)
    wait_for(lambda: len(database.running("pg_sleep")) >= 5, "five queries run at once")
    assert all(site.get("/hello").status == 200 for _ in range(4))
    found = [re.fullmatch(SLOW, answer.text) for answer in answers(clients)]
    assert all(float(match[2]) >= 0.3 for match in found)
    assert {int(match[4]) for match in found} <= set(site.workers())
    assert max(float(match[1]) for match in found) > 0.1, "some had to wait for a connection"


def test_postgres_is_not_asked_for_those_who_left(site, database):
    clients = ask(site, *["/asyncio_postgres/slow?seconds=30"] * 4)
    database.wait_running("pg_sleep", 4)
    for client in clients:
        client.reset()
    database.wait_running("pg_sleep", 0)
    assert site.get("/asyncio_postgres").status == 200


def test_postgres_goes_away(site, database):
    """Last of those that need it."""
    clients = ask(site, *["/asyncio_postgres/slow?seconds=30"] * 3)
    database.wait_running("pg_sleep", 3)
    database.postgres.stop()
    for answer in answers(clients):
        assert answer.status == 503 and answer.text.startswith("PostgreSQL does not answer: "), answer
    assert site.get("/hello").status == 200
    database.postgres.start()
    wait_for(lambda: site.get("/asyncio_postgres").status == 200, "it is asked again")
    assert site.get("/asyncio_postgres/nothing").status == 404


def test_twisted(site):
    for answer in answers(ask(site, *["/twisted_client"] * 10)):
        assert answer.status == 200, site.tail()
        lines = answer.text.splitlines()
        assert lines[0] == "/hello: 14 bytes by HTTP"
        assert re.fullmatch(r"/environ/\?asked=by\+Twisted: \d{4,} bytes by HTTP", lines[1])
        assert re.fullmatch(r"/status\?format=json: \d{3,} bytes by HTTP", lines[2])
        assert lines[3:6] == ["0 + ... + 9 = 45 by AMP", f"1 / 3 = {1 / 3} by AMP", "1 / 0 = an error by AMP"]
        assert int(lines[6].removeprefix("asked by worker ")) in site.workers()


def test_twisted_after_clients_that_left(site):
    for client in ask(site, *["/twisted_client"] * 10):
        client.reset()
    assert [answer.status for answer in answers(ask(site, *["/twisted_client"] * 10))] == [200] * 10
    assert not site.log_lines("Unhandled error in Deferred|never retrieved")
