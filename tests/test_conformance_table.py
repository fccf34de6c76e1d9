"""The behaviours by which WSGI servers differ most, one test each, as the client sees them.

The same probe asked the servers that are in use; none of the fast ones had all of these right.
"""

import pytest

from harness.apps import notes, serve, wait_notes
from harness.http import Truncated

PROBE = r"""
    def at_write(environ, start_response):
        start_response("200 OK", PLAIN)(b"written ")
        return [b"returned"]

    def at_second(environ, start_response):
        start_response("200 OK", PLAIN)
        start_response("201 Created", PLAIN)
        return [b"never"]

    def at_replace(environ, start_response):
        start_response("200 OK", [("X-First", "1")])
        start_response("503 Replaced", [("X-Second", "2")], planned())
        return [b"replaced"]

    def at_after(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"sent"
        try:
            start_response("503 Too late", PLAIN, planned())
        except RuntimeError as error:
            note("raised again", error)
            raise

    def at_none(environ, start_response):
        return [b"no status"]

    def at_text(environ, start_response):
        start_response("200 OK", PLAIN)
        return ["text"]

    def at_closes(environ, start_response):
        start_response("200 OK", [("Content-Length", "8")])
        items = {"success": [b"12345678"], "error": [b"1234", ValueError("boom")], "short": [b"1234"]}
        return Body(*items[environ["QUERY_STRING"]], name=environ["QUERY_STRING"])

    def at_long(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return Body(b"12", b"345678")

    def at_breaks(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(b"part", ValueError("boom"))

    def at_inject(environ, start_response):
        start_response("200 OK", [("X-Value", "a\r\nX-Injected: 1")])
        return [b"never"]

    def at_hop(environ, start_response):
        start_response("200 OK", [("Connection", "close")])
        return [b"never"]

    def at_input(environ, start_response):
        stream = environ["wsgi.input"]
        got = [stream.readline(3), stream.readline(), next(iter(stream)), stream.read(-1), stream.read(-1)]
        return answer(start_response, [item.decode() for item in got])

    def at_terminated(environ, start_response):
        return answer(start_response, environ["wsgi.input_terminated"])

    def at_echo(environ, start_response):
        return answer(start_response, environ["wsgi.input"].read())

    def at_status(environ, start_response):
        start_response(environ["QUERY_STRING"] + " Status", [])
        return [b"a body"]

    def at_headers(environ, start_response):
        return answer(start_response, {key: value for key, value in environ.items() if key.startswith("HTTP_")})

    def at_keys(environ, start_response):
        return answer(start_response, sorted(set(environ) & set(os.environ)))

    def at_multiprocess(environ, start_response):
        return answer(start_response, environ["wsgi.multiprocess"])

    def at_file(environ, start_response):
        import io
        start_response("200 OK", PLAIN)
        wrapper = environ["wsgi.file_wrapper"](io.BytesIO(b"0123456789"), 4)
        return [b"|".join(wrapper)] if environ["QUERY_STRING"] else wrapper
    """


@pytest.fixture
def server(nginx):
    return serve(nginx, PROBE, main="env LEAKED; env HTTP_LEAKED;", env={"LEAKED": "1", "HTTP_LEAKED": "1"})


def test_write_callable_works(server):
    assert server.get("/write").body == b"written returned"


def test_second_start_response_without_exc_info_is_an_error(server):
    assert server.get("/second").status == 500


def test_exc_info_before_output_replaces_the_response(server):
    answer = server.get("/replace")
    assert (answer.status, answer.header("X-First"), answer.header("X-Second")) == (503, None, "2")
    assert answer.body == b"replaced"


def test_exc_info_after_output_is_raised_again(server):
    with pytest.raises(Truncated) as caught:
        server.get("/after")
    assert caught.value.response.body == b"sent"
    assert notes(server) == ["raised again planned"]


def test_no_start_response_at_all_gives_500(server):
    assert server.get("/none").status == 500


def test_str_in_the_body_gives_500(server):
    assert server.get("/text").status == 500


@pytest.mark.parametrize("how", ["success", "error", "short"])
def test_close_is_called(server, how):
    try:
        server.get("/closes?" + how)
    except Truncated:
        assert how != "success"
    wait_notes(server, "close " + how)


def test_body_longer_than_content_length_is_cut(server):
    client = server.connect()
    assert client.request("GET", "/long").body == b"1234"
    assert client.request("POST", "/echo", body=b"next").body == b"next"


def test_error_in_the_middle_is_visible_to_the_client(server):
    with pytest.raises(Truncated):
        server.get("/breaks")


def test_line_breaks_in_a_header_are_refused(server):
    answer = server.get("/inject")
    assert answer.status == 500 and answer.header("X-Injected") is None


def test_hop_by_hop_header_is_refused(server):
    assert server.get("/hop").status == 500


def test_input_iteration_and_sizes(server):
    assert server.post("/input", b"first\nsecond\nthird\nrest").json() == ["fir", "st\n", "second\n", "third\nrest", ""]


def test_input_terminated_is_set(server):
    assert server.get("/terminated").json() is True


def test_chunked_request_body(server):
    assert server.post("/echo", [b"one ", b"two"], chunked=True).body == b"one two"


def test_expect_100_continue(server):
    client = server.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_head(interim=True).status == 100
    client.send(b"body")
    assert client.read_response().body == b"body"


@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204)])
def test_head_and_204_have_no_body(server, method, status):
    client = server.connect()
    assert client.request(method, f"/status?{status}").status == status
    assert client.request("POST", "/echo", body=b"next").body == b"next"


def test_header_with_underscore_cannot_spoof(server):
    assert server.get("/headers", [("X_Real_IP", "evil"), ("X-Real-IP", "true")]).json()["HTTP_X_REAL_IP"] == "true"


def test_repeated_headers_and_cookies_are_joined(server):
    sent = [("X-R", "1"), ("X-R", "2"), ("Cookie", "a=1"), ("Cookie", "b=2")]
    headers = server.get("/headers", sent).json()
    assert (headers["HTTP_X_R"], headers["HTTP_COOKIE"]) == ("1, 2", "a=1; b=2")


def test_process_environment_is_no_part_of_environ(server):
    assert server.get("/keys").json() == []


def test_multiprocess_is_truthful(nginx):
    assert serve(nginx, PROBE).get("/multiprocess").json() is False
    assert serve(nginx, PROBE, workers=2).get("/multiprocess").json() is True


def test_file_wrapper_is_there_and_iterable(server):
    assert server.get("/file").body == b"0123456789"
    assert server.get("/file?iterate").body == b"0123|4567|89"
