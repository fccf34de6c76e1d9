"""Pools of database connections in threads: psycopg and SQLAlchemy, with a real PostgreSQL."""

import threading

import pytest

from harness.nginx import TESTS
from harness.postgres import Postgres, program
from harness.threads import serve
from harness.venv import environment

pytestmark = pytest.mark.skipif(program("postgres") is None, reason="PostgreSQL is not installed")

APP = """
    import psycopg
    import psycopg_pool
    import sqlalchemy
    from sqlalchemy import orm

    CONNINFO = os.environ["CONNINFO"]
    pool = psycopg_pool.ConnectionPool(CONNINFO, min_size=1, max_size=4, open=True)
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(CONNINFO), pool_size=3,
                                      max_overflow=0)
    Session = orm.scoped_session(orm.sessionmaker(engine))

    class Base(orm.DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "rows"
        id = orm.mapped_column(sqlalchemy.Integer, primary_key=True)
        name = orm.mapped_column(sqlalchemy.String, index=True)

    def at_create(environ, start_response):
        Base.metadata.create_all(engine)
        with pool.connection() as connection:
            connection.execute("create table counter (value int)")
            connection.execute("insert into counter values (0)")
        return answer(start_response, b"created")

    def at_psycopg(environ, start_response):
        with pool.connection() as connection:
            connection.execute("update counter set value = value + 1")
            value, = connection.execute("select value from counter").fetchone()
        return answer(start_response, value)

    def at_session(environ, start_response):
        # A session for each thread, as Flask-SQLAlchemy keeps it.
        try:
            Session.add(Row(name=environ["QUERY_STRING"]))
            Session.flush()
            found = Session.query(Row).filter_by(name=environ["QUERY_STRING"]).count()
            Session.commit()
            return answer(start_response, found)
        finally:
            Session.remove()

    def at_rows(environ, start_response):
        start_response("200 OK", PLAIN)
        def blocks():
            with pool.connection() as connection, connection.cursor("streamed") as cursor:
                for number, in cursor.execute("select generate_series(1, 20000)"):
                    yield b"%d," % number
        return blocks()

    def at_sleep(environ, start_response):
        with pool.connection() as connection:
            connection.execute("select pg_sleep(0.05)")
        return answer(start_response, b"slept")

    def at_counts(environ, start_response):
        with pool.connection() as connection:
            value, = connection.execute("select value from counter").fetchone()
            rows, = connection.execute("select count(*) from rows").fetchone()
        stats = pool.get_stats()
        return answer(start_response, [value, rows, stats["pool_size"], stats.get("requests_errors", 0),
                                       engine.pool.checkedout()])
    """


@pytest.fixture
def postgres(folder):
    server = Postgres(folder)
    yield server
    server.stop()


def test_pools_under_eight_threads(nginx, postgres):
    python = environment("extensions", TESTS / "requirements-extensions.txt") / "bin/python"
    server = serve(nginx, APP, threads=8, http=f'wsgi_python_executable {python}; '
                                               f'wsgi_env CONNINFO "{postgres.conninfo}";', check_fds=False)
    assert server.get("/create").body == b"created", server.tail()
    problems = []

    def work(number):
        try:
            client = server.connect(timeout=30)
            for turn in range(10):
                assert client.request("GET", "/psycopg").json() > 0
                assert client.request("GET", f"/session?{number}-{turn}").json() == 1
                assert client.request("GET", "/sleep").body == b"slept"
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    # A client that leaves in the middle of a cursor gives its connection back.
    for _ in range(4):
        gone = server.connect(rcvbuf=4096)
        gone.send_request("GET", "/rows")
        gone.read_head()
        gone.reset()
    assert server.get("/rows").body == b"".join(b"%d," % number for number in range(1, 20001))
    for thread in threads:
        thread.join()
    assert problems == [], server.tail()
    value, rows, size, errors, out = server.get("/counts").json()
    assert (value, rows, errors, out) == (120, 120, 0, 0) and size <= 4
    # New processes, new connections; the old ones are closed with their worker.
    server.hup()
    assert server.get("/psycopg").json() == 121
