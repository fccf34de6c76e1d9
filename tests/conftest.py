"""Fixtures of all tests. See README.md in this folder."""

import os
import pathlib
import shutil
import tempfile

import pytest

from harness import examples, postgres, uwsgi
from harness import nginx as ngx
from harness.upstream import Upstream

ENVIRON_APP = '''
import json


def show(value):
    return value if isinstance(value, (str, bool, int)) else repr(value)


def application(environ, start_response):
    """Answers with its environ as JSON; the body, if any, comes along as the key `body`."""
    shown = {key: show(value) for key, value in environ.items()}
    shown["body"] = environ["wsgi.input"].read().decode("latin-1")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]
'''


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of the error log, and its folder stays."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.wsgi_failed = True
        for server in getattr(item, "wsgi_servers", []):
            report.sections.append((f"nginx in {server.folder}", server.output() + server.tail(80)))


@pytest.fixture
def folder(request):
    """A folder with a short name: the path of a unix socket must fit into 108 bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="wsgi-"))
    path.chmod(0o755)
    yield path
    if not getattr(request.node, "wsgi_failed", False):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def app(folder):
    """Writes an application, `app("def application...", "name.py")`, and returns its path."""
    def write(text, name="app.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
    return write


@pytest.fixture
def nginx(request, folder):
    """A factory: `nginx("location / { wsgi_pass app.py; }")` starts a server that is stopped and checked at the end.

    `apps={"app.py": text}` writes applications first; `start=False` only makes the object (for `test_config`).
    """
    servers = request.node.wsgi_servers = []

    def make(server="", *, apps=None, start=True, **options):
        home = folder / f"n{len(servers)}" if servers else folder
        home.mkdir(exist_ok=True)
        for name, text in (apps or {}).items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        instance = ngx.Nginx(home, server, **options)
        servers.append(instance)
        return instance.start() if start else instance

    yield make
    try:
        failed = getattr(request.node, "wsgi_failed", False)
        for instance in servers:
            # A test that failed says why already; then it only matters that nothing stays behind.
            instance.stop(check=not failed, timeout=5 if failed else 15)
    except BaseException:
        request.node.wsgi_failed = True
        raise
    finally:
        for instance in servers:
            instance.kill()


@pytest.fixture
def twins(nginx):
    """A factory: `twins(text, "location / { twin_pass; }")` runs the application by wsgi_pass and by uwsgi_pass.

    `twin_` becomes `wsgi_` on one side and `uwsgi_` on the other. See harness/uwsgi.py.
    """
    if not uwsgi.UWSGI.exists():
        pytest.skip("uWSGI is not installed beside this Python")
    made = []

    def make(text, config="location / { twin_pass; }", **options):
        made.append(uwsgi.Twins(nginx, text, config, **options))
        return made[-1]

    yield make
    for pair in made:
        pair.stop()


@pytest.fixture(scope="session")
def site():
    """All examples in one nginx, for all tests of examples: see harness/examples.py."""
    with examples.running() as server:
        yield server


@pytest.fixture(scope="session")
def _cluster():
    if postgres.program("postgres") is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.cluster() as server:
        yield server


@pytest.fixture
def database(_cluster):
    """A database of the test's own in a PostgreSQL that all tests share: `conninfo`, `execute`, `running`."""
    with postgres.new_database(_cluster) as database:
        yield database


@pytest.fixture
def upstream():
    """An HTTP server of the test, in threads of its own: see harness/upstream.py."""
    with Upstream() as server:
        yield server


@pytest.fixture
def environ_app(app):
    """The file of an application that answers with its environ as JSON; read it with `Nginx.environ()`."""
    return app(ENVIRON_APP, "environ_app.py")


def pytest_configure(config):
    config.addinivalue_line("markers", "vendored_only: needs what only the nginx built from source has")
    config.addinivalue_line("markers", "slow: takes more than five seconds")
    config.addinivalue_line("markers", "once: about libraries above the module; not with the nginx built from source too")
    config.addinivalue_line("markers", "inline_only: about applications that run in nginx's own thread")


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason=f"nginx {ngx.VERSION_TEXT} has no HTTP/3 and was not built by this project")
    inline = pytest.mark.skip(reason="only for applications that run in nginx's own thread")
    once = pytest.mark.skip(reason="with Debian's nginx only; WSGI_EVERYTHING=1 runs it here too")
    for item in items:
        if "vendored_only" in item.keywords and not ngx.VENDORED:
            item.add_marker(skip)
        if "once" in item.keywords and ngx.VENDORED and "WSGI_EVERYTHING" not in os.environ:
            item.add_marker(once)
        if "inline_only" in item.keywords and ngx.THREADS:
            item.add_marker(inline)


def pytest_report_header():
    return [f"nginx: {ngx.NGINX} {ngx.VERSION_TEXT}", f"module: {ngx.MODULE}", f"python: {ngx.PYTHON}",
            f"threads: {ngx.THREADS or 'inline'}"]
