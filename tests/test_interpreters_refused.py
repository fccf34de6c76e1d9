"""Extensions that refuse sub-interpreters: one sentence that names the extension, the application and the way out."""

import re
import time

import pytest

from harness.apps import PRELUDE
from harness.nginx import TESTS, wait_for
from harness.venv import environment

pytestmark = pytest.mark.once

# PyO3's modules accept the first interpreter that imports them and refuse every other one.
RUST = "cryptography.hazmat.bindings._rust"
EXTENSIONS = {"pydantic_core": "pydantic_core._pydantic_core", "cryptography.x509": RUST}
ENABLE = "wsgi_enable_subinterpreters on;"
TEXT = PRELUDE + '''
import {package}


def application(environ, start_response):
    return answer(start_response, b"ok")
'''
WAY_OUT = 'refuses sub-interpreters; use "wsgi_use_main_interpreter on" for this application'
TWO = "location / { wsgi_pass one.py; } location /two { wsgi_pass two.py; }"


@pytest.fixture(scope="module")
def http():
    return f"wsgi_python_executable {environment('extensions', TESTS / 'requirements-extensions.txt')}/bin/python;"


def pair(nginx, http, package, server=TWO, **more):
    text = TEXT.format(package=package)
    return nginx(server, http=http + ENABLE, apps={"one.py": text, "two.py": text, **more.pop("apps", {})}, **more)


def complaints(server, name=r"\S+"):
    return server.log_lines(rf'wsgi: cannot load application "\S+/{name}\.py": ')


@pytest.mark.slow
@pytest.mark.parametrize("package", EXTENSIONS)
def test_the_message(nginx, http, package):
    if package == "pydantic_core" and "-3.9." in http:
        pytest.skip("the last pydantic_core for Python 3.9 accepts every interpreter")
    server = pair(nginx, http, package)
    (line,) = wait_for(lambda: complaints(server), server.tail)
    assert "[error]" in line
    assert (f'wsgi: cannot load application "{server.folder}/two.py": the extension module "{EXTENSIONS[package]}" '
            f"{WAY_OUT} (ImportError: ") in line
    assert "subinterpreter" in line.partition("ImportError: ")[2]
    assert not server.log_lines("Traceback|File \""), "the place of an import says nothing about the reason"
    assert server.get("/").text == "ok"
    assert server.get("/two").status == 500
    (line,) = server.wait_for_log(r'wsgi: application "\S+/two\.py" is not loaded')
    assert 'request: "GET /two HTTP/1.1"' in line


@pytest.mark.slow
def test_not_tried_again_while_the_script_is_the_same(nginx, http):
    server = pair(nginx, http, RUST)
    deadline, requests = time.monotonic() + 2.5, 0  # others are tried again after a second
    while time.monotonic() < deadline:
        assert server.get("/two").status == 500
        requests += 1
    assert requests > 20
    assert len(complaints(server)) == 1


@pytest.mark.slow
def test_tried_again_when_the_script_has_changed(nginx, http, folder):
    server = pair(nginx, http, RUST)
    assert server.get("/two").status == 500
    (folder / "two.py").write_text("# changed\n" + TEXT.format(package=RUST))
    assert server.get("/two").status == 500
    assert len(complaints(server)) == 2
    (folder / "two.py").write_text(TEXT.format(package="json"))
    assert server.get("/two").text == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("package", EXTENSIONS)
def test_the_way_out(nginx, http, package):
    server = pair(nginx, http, package, """
        location / { wsgi_use_main_interpreter on; wsgi_pass one.py; }
        location /two { wsgi_use_main_interpreter on; wsgi_pass two.py; }
        location /three { wsgi_pass three.py; }
    """, apps={"three.py": TEXT.format(package="json")})
    for target in ("/", "/two", "/three"):
        assert server.get(target).text == "ok"
    assert not complaints(server)
    server.hup()
    assert server.get("/two").text == "ok", "a new process, a first interpreter again"


@pytest.mark.slow
def test_applications_that_share_an_interpreter_share_the_extension(nginx, http):
    server = pair(nginx, http, RUST, "wsgi_interpreter shared;" + TWO)
    assert server.get("/").text == server.get("/two").text == "ok"
    assert not complaints(server)


@pytest.mark.slow
def test_after_the_main_interpreter_a_sub_interpreter_is_refused(nginx, http):
    server = pair(nginx, http, RUST,
                  "location / { wsgi_use_main_interpreter on; wsgi_pass one.py; } location /two { wsgi_pass two.py; }")
    assert server.get("/").text == "ok"
    assert server.get("/two").status == 500
    wait_for(lambda: len(complaints(server, "two")) == 1, server.tail)


@pytest.mark.slow
def test_in_each_worker_once(nginx, http):
    server = pair(nginx, http, RUST, workers=2)
    wait_for(lambda: len(complaints(server)) == 2, server.tail)
    for _ in range(6):
        assert server.get("/").text == "ok"
        assert server.get("/two").status == 500
    assert len(complaints(server)) == 2


@pytest.mark.slow
def test_an_application_may_go_without(nginx, http):
    server = pair(nginx, http, RUST, apps={"two.py": PRELUDE + '''
try:
    import cryptography.x509
except ImportError:
    cryptography = None


def application(environ, start_response):
    return answer(start_response, cryptography is None)
'''})
    assert server.get("/two").json() is True
    assert not complaints(server)


@pytest.mark.slow
def test_an_import_in_a_request(nginx, http):
    server = pair(nginx, http, RUST, apps={"two.py": PRELUDE + '''
def application(environ, start_response):
    if environ["QUERY_STRING"]:
        import cryptography.x509
    return answer(start_response, b"ok")
'''})
    for count in (1, 2):
        assert server.get("/two?import").status == 500
        lines = server.wait_for_log(r'wsgi: application "\S+/two\.py" raised ', count=count)
        assert len(lines) == count
        assert WAY_OUT in lines[-1] and f'"{RUST}"' in lines[-1]
        assert 'request: "GET /two?import HTTP/1.1"' in lines[-1]
    server.wait_for_log("wsgi: Traceback")
    server.wait_for_log(r'File "\S+/two\.py", line \d+, in application')
    assert server.get("/two").text == "ok"
    assert not complaints(server)


@pytest.mark.slow
def test_an_import_after_the_headers(nginx, http):
    server = pair(nginx, http, RUST, apps={"two.py": PRELUDE + '''
def application(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"part"
    import cryptography.x509
'''})
    client = server.connect()
    client.send_request("GET", "/two")
    assert not client.read_response(strict=False).complete
    (line,) = server.wait_for_log(r'wsgi: application "\S+/two\.py" raised ')
    assert WAY_OUT in line


@pytest.mark.slow
def test_a_refused_extension_in_a_middleware(nginx, http):
    server = pair(nginx, http, RUST, """
        location / { wsgi_pass one.py; }
        location /two { wsgi_middleware wrapper.py; wsgi_pass two.py; }
    """, apps={"two.py": TEXT.format(package="json"),
               "wrapper.py": "import cryptography.x509\ndef middleware(app): return app\n"})
    assert server.get("/two").status == 500
    (line,) = server.log_lines(r"wsgi: cannot load ")
    assert WAY_OUT in line and "/wrapper.py" in line and "/two.py" in line


@pytest.mark.slow
def test_preflight_says_it_too(nginx, http):
    text = TEXT.format(package=RUST)
    server = nginx(TWO, http=http + ENABLE + "wsgi_preflight on;", apps={"one.py": text, "two.py": text}, start=False)
    accepted, output = server.test_config()
    assert not accepted
    (line,) = [line for line in output.splitlines() if "cannot load application" in line]
    assert re.search(rf'\[emerg\] wsgi: cannot load application "{server.folder}/two.py": .*{re.escape(WAY_OUT)}', line)
    accepted, output = server.test_config(server="wsgi_use_main_interpreter on;" + TWO)
    assert accepted, output


def test_another_import_error_is_no_refusal(nginx):
    server = nginx("location / { wsgi_pass one.py; }", http=ENABLE, apps={"one.py": "import nothing_like_this\n"})
    (line,) = server.wait_for_log("wsgi: cannot load application")
    assert "ModuleNotFoundError" in line and WAY_OUT not in line
    server.wait_for_log("wsgi: Traceback")


def test_no_advice_in_the_main_interpreter(nginx):
    """Where the application is in the main interpreter already, the advice would be nonsense."""
    server = nginx("location / { wsgi_pass one.py; }", apps={
        "one.py": "raise ImportError('module x does not support loading in subinterpreters')\n"})
    (line,) = server.wait_for_log("wsgi: cannot load application")
    assert "ImportError: module x does not support loading in subinterpreters" in line and WAY_OUT not in line
    server.wait_for_log("wsgi: Traceback")


@pytest.mark.slow
def test_the_main_interpreter_comes_first(nginx, http):
    """Whatever the order in the file: an application that follows the advice is not the one that is refused."""
    server = pair(nginx, http, RUST, """
        location / { wsgi_pass one.py; }
        location /two { wsgi_use_main_interpreter on; wsgi_pass two.py; }
        """)
    assert server.get("/two").text == "ok"
    assert server.get("/").status == 500
