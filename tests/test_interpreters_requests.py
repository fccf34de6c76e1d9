"""Sub-interpreters: requests that take turns, pages of several interpreters, output and errors."""

import re

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.http import Truncated
from harness.interpreters import NAMES, THREE, answers, three
from harness.nginx import wait_for

pytestmark = pytest.mark.once


def test_output_of_each_goes_to_the_error_log(nginx):
    server = three(nginx, """
    import logging
    import warnings

    logging.basicConfig(format="logged by %(message)s")
    print("imported", NAME)

    def at_speak(environ, start_response):
        print("stdout of", NAME)
        print("stderr of", NAME, file=sys.stderr)
        print("errors of", NAME, file=environ["wsgi.errors"])
        logging.error(NAME)
        warnings.warn("warned by " + NAME)
        return answer(start_response, None)
    """)
    answers(server, "speak")
    for name in NAMES:
        for text in ("imported", "stdout of", "stderr of", "logged by", "UserWarning: warned by"):
            assert len(server.wait_for_log(rf"wsgi: .*{text} {name}\b")) == 1, text
        assert f'request: "GET /{name}/speak HTTP/1.1"' in server.wait_for_log(f"errors of {name}")[0]


def test_exceptions_in_each(nginx):
    server = three(nginx, """
    class Mine(Exception):
        pass

    def at_raise(environ, start_response):
        raise Mine(NAME)

    def at_late(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"part"
        raise Mine("late " + NAME)

    def at_chain(environ, start_response):
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise Mine("chained " + NAME) from error

    def at_ok(environ, start_response):
        return answer(start_response, who())
    """)
    worker = server.worker
    for name in NAMES:
        assert server.get(f"/{name}/raise").status == 500
        assert server.get(f"/{name}/chain").status == 500
        with pytest.raises(Truncated):
            server.get(f"/{name}/late")
        app = re.escape(f'application "{server.folder}/{name}.py"')
        server.wait_for_log(rf"{app} raised (\S+\.)?Mine: {name}")
        server.wait_for_log(rf"{app} raised (\S+\.)?Mine: late {name} after the headers were sent")
        server.wait_for_log(rf'File "{server.folder}/{name}\.py", line \d+, in at_raise')
    assert len(set(answers(server, "ok"))) == 3
    assert server.worker == worker


def test_one_that_does_not_load_leaves_the_others(nginx):
    server = three(nginx, """
    if NAME == "one" and not there("mended"):
        raise ValueError("broken")

    def at_ok(environ, start_response):
        return answer(start_response, who())
    """)
    server.wait_for_log(r'cannot load application "\S+/one\.py": ValueError: broken')
    assert server.get("/one/ok").status == 500
    assert server.get("/two/ok").status == 200
    assert server.get("/main/ok").json() == 0
    touch(server, "mended")
    wait_for(lambda: server.get("/one/ok").status == 200, "the second attempt", 5)


def test_start_response_and_types_of_the_module(nginx):
    """exc_info, wrong calls and wrong blocks: exceptions are those of the interpreter that asks."""
    server = three(nginx, """
    def at_calls(environ, start_response):
        found = [refused(start_response, "20 OK", PLAIN), refused(start_response, b"200 OK", PLAIN),
                 raised(environ["wsgi.errors"].write, b"x"), raised(environ["wsgi.input"].read, "x")]
        return answer(start_response, found, again=True)

    def at_wrong(environ, start_response):
        start_response("200 OK", PLAIN)
        return ["text"]

    def at_input(environ, start_response):
        stream = environ["wsgi.input"]
        return answer(start_response, [stream.readline().decode(), stream.read(2).decode(), list(map(len, stream))])

    def at_file(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](open(__file__, "rb"), 100)
    """)
    assert answers(server, "calls") == [["ValueError", "TypeError", "TypeError", "TypeError"]] * 3
    for name in NAMES:
        assert server.get(f"/{name}/wrong").status == 500
        assert server.post(f"/{name}/input", b"first\nsecond\nthird\n").json() == ["first\n", "se", [5, 6]]
        assert server.get(f"/{name}/file").body == (server.folder / f"{name}.py").read_bytes()


def test_generators_of_slow_clients_take_turns(nginx):
    server = three(nginx, """
    import contextvars

    var = contextvars.ContextVar("var")

    def at_stream(environ, start_response):
        var.set((NAME, environ["QUERY_STRING"]))
        start_response("200 OK", PLAIN)
        def blocks():
            for number in range(200):
                assert var.get() == (NAME, environ["QUERY_STRING"])
                yield (b"%s %d %d %d;" % (NAME.encode(), who(), id(sys.modules), number)).ljust(20000)
        body = Body(name=f"{NAME} {who()}")
        body.items = blocks()
        return body

    def at_me(environ, start_response):
        return answer(start_response, [who(), id(sys.modules)])
    """)
    me = dict(zip(NAMES, answers(server, "me")))
    clients = []
    for number in range(2):
        for name in NAMES:
            client = server.connect(rcvbuf=4096)
            client.send_request("GET", f"/{name}/stream?{number}")
            clients.append((name, client))
    heads = [client.read_head() for _, client in clients]
    # A bit of each in turn; the kernel holds much less than a whole answer.
    for _ in range(100):
        for _, client in clients:
            assert client.fill(20000)
    for (name, client), head in zip(clients, heads):
        client.read_body(head)
        number, modules = me[name]
        expected = b"".join((b"%s %d %d %d;" % (name.encode(), number, modules, block)).ljust(20000)
                            for block in range(200))
        assert head.body == expected
    wait_notes(server, "close", 6)
    assert sorted(notes(server, "close")) == sorted(2 * [f"close {name} {me[name][0]}" for name in NAMES])


@pytest.mark.parametrize("h2c", [False, True])
def test_write_in_each(nginx, h2c):
    server = three(nginx, """
    def at_write(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(3):
            write(b"%d " % who() * 20000)
        return [b"end of ", NAME.encode()]

    def at_me(environ, start_response):
        return answer(start_response, who())
    """, h2c=h2c, http="wsgi_block_warning off;")
    for name, number in zip(NAMES, answers(server, "me")):
        target = f"/{name}/write"
        answer = server.h2().request("GET", target) if h2c else server.get(target)
        assert answer.body == b"%d " % number * 60000 + b"end of " + name.encode()


PAGES = """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        names = environ["QUERY_STRING"].split(",")
        yield b"<%s %d " % (NAME.encode(), who())
        for name in filter(None, names):
            yield b'<!--#include virtual="/%s" -->' % name.encode()
        yield b" %d %d>" % (who(), id(sys.modules) == MODULES)

    MODULES = id(sys.modules)

    def at_outer(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        yield b"<%s %d " % (NAME.encode(), who())
        yield b'<!--#include virtual="/two/inner" -->'
        yield b" %d>" % who()

    def at_inner(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return Body(b"<%s %d " % (NAME.encode(), who()), b'<!--#include virtual="/main/page" -->',
                    lambda: b" %d>" % who(), name=f"{NAME} {who()}")

    def at_me(environ, start_response):
        return answer(start_response, who())
    """


def test_one_page_of_several_interpreters(nginx):
    server = three(nginx, PAGES, "ssi on;" + THREE)
    one, two, main = answers(server, "me")
    for name, number in (("one", one), ("main", main)):
        assert server.get(f"/{name}/page?two/page,main/page,one/page").text == (
            f"<{name} {number} <two {two}  {two} 1><main 0  0 1><one {one}  {one} 1> {number} 1>")


def test_pages_nested_through_interpreters(nginx):
    server = three(nginx, PAGES, "ssi on;" + THREE)
    one, two, main = answers(server, "me")
    assert server.get("/one/outer").text == f"<one {one} <two {two} <main 0  0 1> {two}> {one}>"
    wait_notes(server, "close")
    assert notes(server) == ["end two %d" % two, "close two %d" % two]


def test_error_page_of_another_interpreter(nginx):
    server = three(nginx, """
    def at_fail(environ, start_response):
        raise ValueError(NAME)

    def at_sorry(environ, start_response):
        start_response("500 Sorry", [("Content-Type", "text/plain"), ("X-From", NAME)])
        return [f"sorry from {who()}".encode()]

    def at_me(environ, start_response):
        return answer(start_response, who())
    """, """
        location /one/ { wsgi_pass one.py; error_page 500 = /two/sorry; }
        location /two/ { wsgi_pass two.py; error_page 500 = /main/sorry; }
        location /main/ { wsgi_use_main_interpreter on; wsgi_pass main.py; error_page 500 = /one/sorry; }
    """)
    numbers = dict(zip(NAMES, answers(server, "me")))
    for failing, answering in (("one", "two"), ("two", "main"), ("main", "one")):
        answer = server.get(f"/{failing}/fail")
        assert (answer.header("X-From"), answer.text) == (answering, f"sorry from {numbers[answering]}")


def test_auth_request_by_another_interpreter(nginx):
    server = three(nginx, """
    def at_check(environ, start_response):
        start_response("204 OK" if environ.get("HTTP_X_PASS") else "403 No", [("X-By", str(who()))])
        return []

    def at_me(environ, start_response):
        return answer(start_response, [who(), environ.get("CHECKED")])
    """, """
        location /one/ { auth_request /two/check; auth_request_set $by $sent_http_x_by; wsgi_var CHECKED $by;
                         wsgi_pass one.py; }
        location /two/ { wsgi_pass two.py; }
    """)
    assert server.get("/one/me").status == 403
    two = server.get("/two/me").json()[0]
    one, checked = server.get("/one/me", [("X-Pass", "1")]).json()
    assert one != two and checked == str(two)


@pytest.mark.parametrize("how", ["reset", "HEAD", "fails", "send_timeout"])
def test_close_runs_in_the_interpreter_of_its_application(nginx, how):
    server = three(nginx, """
    class Noting:
        def __init__(self, blocks):
            self.blocks = blocks

        def __iter__(self):
            return self.blocks

        def close(self):
            self.blocks.close()
            note("close", NAME, who(), id(sys.modules))

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        def blocks():
            try:
                for number in range(80):
                    yield b"x" * 100000
                    if environ["QUERY_STRING"]:
                        raise ValueError
            finally:
                note("finally", NAME, who(), id(sys.modules))
        return Noting(blocks())

    def at_me(environ, start_response):
        return answer(start_response, [who(), id(sys.modules)])
    """, ("send_timeout 200ms;" if how == "send_timeout" else "") + THREE)
    expected = [f"{name} {number} {modules}" for name, (number, modules) in zip(NAMES, answers(server, "me"))]
    clients = []
    for name in NAMES:
        client = server.connect(rcvbuf=4096)
        query = "?fails" if how == "fails" else ""
        client.send_request("HEAD" if how == "HEAD" else "GET", f"/{name}/big{query}")
        if how != "send_timeout":
            client.read_head()
        clients.append(client)
    if how == "reset":
        assert settled(lambda: notes(server)) == []
        for client in clients:
            client.reset()
    wait_notes(server, "close", 3)
    answers(server, "me")
    assert sorted(notes(server, "close")) == sorted(f"close {each}" for each in expected)
    if how != "HEAD":
        assert sorted(notes(server, "finally")) == sorted(f"finally {each}" for each in expected)


def test_what_is_collected_late_dies_in_its_interpreter(nginx):
    """A cycle with a body in it, which the collector finds during a request to another application."""
    server = three(nginx, """
    import gc

    class Cycle:
        def __init__(self):
            self.me = self

        def __iter__(self):
            return iter([b"x"])

        def __del__(self):
            note("gone", NAME, who())

    def at_cycle(environ, start_response):
        gc.disable()
        start_response("200 OK", PLAIN)
        return Cycle()

    def at_collect(environ, start_response):
        gc.collect()
        return answer(start_response, who())
    """)
    for name in NAMES:
        assert server.get(f"/{name}/cycle").body == b"x"
    expected = [f"gone {name} {number}" for name, number in zip(NAMES, answers(server, "collect"))]
    assert notes(server) == expected
