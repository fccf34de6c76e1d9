"""close() of the iterable is called exactly once, whatever happens to the request."""

import pytest

from harness.apps import notes, serve, settled, touch, wait_notes
from harness.http import Truncated

APP = """
    def start(start_response, status="200 OK", *headers):
        start_response(status, [*PLAIN, *headers])

    def at_success(environ, start_response):
        start(start_response)
        return Body(b"one", b"", b"two")

    class Listed(list):
        def close(self):
            note("close body")

    def at_list(environ, start_response):
        start(start_response)
        return Listed([b"one", b"two"])

    def at_empty(environ, start_response):
        start(start_response)
        return Body()

    def at_empty_list(environ, start_response):
        start(start_response)
        return Listed()

    def at_first_fails(environ, start_response):
        start(start_response)
        return Body(ValueError("boom"))

    def at_later_fails(environ, start_response):
        start(start_response)
        return Body(b"one", ValueError("boom"))

    def at_status(environ, start_response):
        start_response(environ["QUERY_STRING"] + " Status", [])
        return Body(b"one", b"two", b"three")

    def at_too_long(environ, start_response):
        start(start_response, "200 OK", ("Content-Length", "4"))
        return Body(b"one", b"two", b"three")

    def at_too_short(environ, start_response):
        start(start_response, "200 OK", ("Content-Length", "40"))
        return Body(b"one", b"two", b"three")

    def at_unstarted(environ, start_response):
        return Body(b"one")

    def at_unstarted_empty(environ, start_response):
        return Body()

    def at_str_item(environ, start_response):
        start(start_response)
        return Body("text")

    def at_later_str_item(environ, start_response):
        start(start_response)
        return Body(b"one", "text")

    def at_written(environ, start_response):
        start_response("200 OK", PLAIN)(b"one")
        return Body(b"two")

    def at_close_fails(environ, start_response):
        class Failing(Body):
            def close(self):
                super().close()
                raise ValueError("close fails")
        start(start_response)
        return Failing(b"one")

    def at_exit(environ, start_response):
        start(start_response)
        return Body(b"one", SystemExit(3))

    def at_big(environ, start_response):
        start(start_response)
        return Body(*[b"x" * 100000] * 80)

    def at_waiting(environ, start_response):
        start(start_response)
        def blocks():
            yield b"first"
            note("waiting")
            while not there("go"):
                yield b""
            yield b"last"
        body = Body()
        body.items = blocks()
        return body

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
CLOSE = ["close body"]


def closed_once(server):
    wait_notes(server, "close")
    # Another request, so that a second close() would have had its time.
    assert server.get("/hello").body == b"hello"
    assert notes(server, "close") == CLOSE, server.tail()


@pytest.mark.parametrize("name", ["success", "list", "empty", "empty_list", "written", "close_fails"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "1.0"])
def test_success(nginx, name, method):
    server = serve(nginx, APP)
    options = {"version": "1.0"} if method == "1.0" else {}
    assert server.request("HEAD" if method == "HEAD" else "GET", "/" + name, **options).status == 200
    closed_once(server)


@pytest.mark.parametrize("name", ["first_fails", "unstarted", "unstarted_empty", "str_item"])
def test_errors_before_the_headers(nginx, name):
    server = serve(nginx, APP)
    assert server.get("/" + name).status == 500
    closed_once(server)


@pytest.mark.parametrize("name", ["later_fails", "later_str_item", "too_short", "exit"])
@pytest.mark.parametrize("http2", [False, True])
def test_errors_after_the_headers(nginx, name, http2):
    server = serve(nginx, APP, h2c=True)
    if http2:
        stream = server.h2().request("GET", "/" + name)
        assert stream.status == 200 and stream.reset is not None
    else:
        with pytest.raises(Truncated):
            server.get("/" + name)
    closed_once(server)


@pytest.mark.parametrize("status", ["204", "304"])
def test_statuses_without_a_body(nginx, status):
    server = serve(nginx, APP)
    assert server.get("/status?" + status).status == int(status)
    closed_once(server)


def test_too_long_a_body(nginx):
    server = serve(nginx, APP)
    assert server.get("/too_long").body == b"onet"
    closed_once(server)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_client_gone_while_it_has_not_read(nginx, how):
    server = serve(nginx, APP)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    assert settled(lambda: notes(server)) == []
    client.reset() if how == "reset" else client.close()
    closed_once(server)


def test_client_gone_while_the_application_waits(nginx):
    server = serve(nginx, APP)
    client = server.connect()
    client.send_request("GET", "/waiting")
    wait_notes(server, "waiting")
    client.reset()
    # Nobody set "go": the iteration ends because the client left, at the latest when something is sent to it.
    if settled(lambda: notes(server, "close")) == []:
        touch(server, "go")
    closed_once(server)


def test_send_timeout(nginx):
    server = serve(nginx, APP, "send_timeout 200ms; location / { wsgi_pass app.py; }")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    closed_once(server)
    assert b"HTTP/1.1 200 OK" in client.read_rest()[:100]


def test_http2_stream_reset(nginx):
    server = serve(nginx, APP, h2c=True)
    client = server.h2(hold=True)
    stream = client.send_request("GET", "/big")
    client.wait(lambda: len(stream.body) >= 65535, "a full window")
    assert notes(server, "close") == []
    client.reset(stream)
    closed_once(server)


def test_http2_connection_gone(nginx):
    server = serve(nginx, APP, h2c=True)
    client = server.h2(hold=True)
    stream = client.send_request("GET", "/big")
    client.wait(lambda: len(stream.body) >= 65535, "a full window")
    client.close()
    closed_once(server)


@pytest.mark.vendored_only
def test_http3_connection_gone(nginx):
    server = serve(nginx, APP, h3=True, check_connections=False)
    server.h3(("GET", "/big"), cancel_after=10000)
    closed_once(server)


def test_internal_redirect_by_error_page(nginx):
    server = serve(nginx, APP, """
        location / { wsgi_pass app.py; error_page 500 /hello; }
        """)
    answer = server.get("/first_fails")
    assert (answer.status, answer.body) == (500, b"hello")
    closed_once(server)
    assert server.get("/unstarted").body == b"hello"
    wait_notes(server, "close", 2)
    assert notes(server, "close") == CLOSE * 2


def test_subrequests(nginx):
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/success" -->]']

    def at_broken(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/later_fails" -->]']
    """, "location / { ssi on; wsgi_pass app.py; }")
    assert server.get("/page").body == b"[onetwo]"
    closed_once(server)
    # How a broken part shows is nginx's business; the iterable of the part is closed in any case.
    try:
        assert b"one" in server.get("/broken").body
    except Truncated:
        pass
    wait_notes(server, "close", 2)
    assert notes(server, "close") == CLOSE * 2


def test_main_request_gone_while_a_subrequest_runs(nginx):
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/big" -->]']
    """, "location / { ssi on; wsgi_pass app.py; }")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/page")
    client.read_head()
    assert settled(lambda: notes(server, "close")) == []
    client.reset()
    closed_once(server)


@pytest.mark.parametrize("signal", ["QUIT", "TERM"])
def test_shutdown_while_a_client_does_not_read(nginx, signal):
    server = serve(nginx, APP, h2c=True, check_connections=False, check_fds=False, allow=["open socket left"])
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    with_http2 = server.h2(hold=True)
    stream = with_http2.send_request("GET", "/big")
    with_http2.wait(lambda: len(stream.body) >= 65535, "a full window")
    assert settled(lambda: notes(server, "close")) == []
    server.signal(signal)
    if signal == "QUIT":
        # A graceful end waits for its clients: both answers arrive whole.
        with_http2.hold = False
        with_http2.release()
        with_http2.finish(stream)
        assert len(stream.body) == 8_000_000
        with_http2.close()
        assert client.read_rest().endswith(b"\r\n0\r\n\r\n")
        client.close()
    assert server.wait_exit() == 0
    assert notes(server, "close") == CLOSE * 2


def test_shutdown_of_a_single_process(nginx):
    server = serve(nginx, APP, master=False, check_connections=False, check_fds=False, allow=["open socket left"])
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    settled(lambda: notes(server, "close"))
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert notes(server, "close") == CLOSE


def test_worker_shutdown_timeout(nginx):
    server = serve(nginx, APP, main="worker_shutdown_timeout 300ms;", check_connections=False, check_fds=False,
                   allow=["open socket left"])
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    settled(lambda: notes(server, "close"))
    server.signal("QUIT")
    assert server.wait_exit() == 0
    assert notes(server, "close") == CLOSE
    client.close()


@pytest.mark.parametrize("how", ["whole", "HEAD", "reset", "fails"])
def test_generators_run_their_finally_once_while_the_request_is_still_theirs(nginx, how):
    server = serve(nginx, """
    import contextvars

    var = contextvars.ContextVar("var", default="unset")

    def at_generator(environ, start_response):
        start_response("200 OK", PLAIN)
        def blocks():
            try:
                for number in range(80):
                    yield b"x" * 100000
                    if environ["QUERY_STRING"]:
                        raise ValueError("boom")
            finally:
                note("finally", var.get(), environ["wsgi.input"].read())
                print("a last word", file=environ["wsgi.errors"])
        var.set("set")
        return blocks()

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """)
    client = server.connect(rcvbuf=4096)
    client.send_request("HEAD" if how == "HEAD" else "POST", "/generator" + ("?fails" if how == "fails" else ""),
                        body=b"body")
    head = client.read_head()
    if how == "reset":
        assert settled(lambda: notes(server)) == []
        client.reset()
    elif how != "HEAD":
        try:
            client.read_body(head)
        except Truncated:
            assert how == "fails"
    wait_notes(server, "finally")
    assert server.get("/hello").body == b"hello"
    assert notes(server) == ["finally set b'body'"] or how == "HEAD" and notes(server) == []
    server.wait_for_log("a last word")


def test_a_thousand_requests_close_a_thousand_times(nginx):
    server = serve(nginx, APP + """
    import collections

    counts = collections.Counter()

    class Counting:
        def __init__(self, *items):
            counts["made"] += 1
            self.items = iter(items)

        def __iter__(self):
            return self.items

        def close(self):
            counts["closed"] += 1

        def __del__(self):
            counts["freed"] += 1

    def at_counting(environ, start_response):
        if environ["QUERY_STRING"] == "never":
            return Counting(b"x")
        start(start_response)
        return Counting(b"x", *([ValueError] if environ["QUERY_STRING"] == "str" else [b"y"]))

    def at_counts(environ, start_response):
        return answer(start_response, dict(counts))
    """, "keepalive_requests 2000; location / { wsgi_pass app.py; }")
    client = server.connect()
    burst = b"".join(b"%b /counting%b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, query) for method, query in
                     ((b"GET", b""), (b"HEAD", b""), (b"GET", b"?a"), (b"GET", b"")))
    for _ in range(250):
        client.send(burst)
        assert [client.read_response(method).status for method in ("GET", "HEAD", "GET", "GET")] == [200] * 4
    for _ in range(10):
        assert server.get("/counting?never").status == 500
        with pytest.raises(Truncated):
            server.get("/counting?str")
    assert client.request("GET", "/counts").json() == {"made": 1020, "closed": 1020, "freed": 1020}
