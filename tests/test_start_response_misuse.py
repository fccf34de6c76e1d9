"""Wrong calls of start_response that the application does not catch: a 500, one clear message, the worker goes on."""

import re

import pytest

from harness.apps import serve

CALLS = {
    "no_arguments": ("start_response()", "TypeError"),
    "status_int": ("start_response(200, [])", "TypeError"),
    "status_bytes": ("start_response(b'200 OK', [])", "TypeError"),
    "status_short": ("start_response('20', [])", "ValueError"),
    "status_words": ("start_response('OK', [])", "ValueError"),
    "status_newline": ("start_response('200 OK\\nX: y', [])", "ValueError"),
    "headers_none": ("start_response('200 OK', None)", "TypeError"),
    "headers_dict": ("start_response('200 OK', {'A': 'b'})", "TypeError"),
    "headers_tuple": ("start_response('200 OK', (('A', 'b'),))", "TypeError"),
    "pair_of_one": ("start_response('200 OK', [('A',)])", "TypeError"),
    "pair_of_lists": ("start_response('200 OK', [['A', 'b']])", "TypeError"),
    "value_int": ("start_response('200 OK', [('Content-Length', 3)])", "TypeError"),
    "value_none": ("start_response('200 OK', [('X-A', None)])", "TypeError"),
    "value_bytes": ("start_response('200 OK', [('X-A', b'b')])", "TypeError"),
    "value_newline": ("start_response('200 OK', [('X-A', 'b\\r\\nX: y')])", "ValueError"),
    "value_unicode": ("start_response('200 OK', [('X-A', '\\u20ac')])", "ValueError"),
    "name_colon": ("start_response('200 OK', [('X:A', 'b')])", "ValueError"),
    "name_empty": ("start_response('200 OK', [('', 'b')])", "ValueError"),
    "hop_by_hop": ("start_response('200 OK', [('Connection', 'close')])", "ValueError"),
    "length_words": ("start_response('200 OK', [('Content-Length', 'ten')])", "ValueError"),
    "length_negative": ("start_response('200 OK', [('Content-Length', '-1')])", "ValueError"),
    "length_empty": ("start_response('200 OK', [('Content-Length', '')])", "ValueError"),
    "length_huge": ("start_response('200 OK', [('Content-Length', '9' * 30)])", "ValueError"),
    "length_plus": ("start_response('200 OK', [('Content-Length', '+3')])", "ValueError"),
    "length_twice": ("start_response('200 OK', [('Content-Length', '1'), ('Content-Length', '2')])", "ValueError"),
    "exc_info_wrong": ("start_response('200 OK', [], 'wrong')", "TypeError"),
    "second": ("(start_response('200 OK', []), start_response('200 OK', []))", "RuntimeError"),
}


def test_every_misuse_is_a_500_with_a_message_of_its_own(nginx):
    functions = "\n".join(
        f"    def at_{name}(environ, start_response):\n        {call}\n        return [b'never']\n"
        for name, (call, _) in CALLS.items())
    server = serve(nginx, functions + """
    def at_fine(environ, start_response):
        return answer(start_response, b"fine")
    """)
    worker = server.worker
    messages = {}
    for name, (_, error) in CALLS.items():
        since = server.log_size()
        answer = server.get("/" + name)
        assert answer.status == 500 and b"never" not in answer.body, name
        (line,) = server.wait_for_log(rf'\[error\].*wsgi: application "[^"]*app.py" raised {error}: ', since=since)
        assert f'request: "GET /{name} HTTP/1.1"' in line, line
        messages[name] = re.search(rf"raised {error}: (.*?), client:", line).group(1)
        assert messages[name].strip(), name
        server.wait_for_log(rf"in at_{name}", since=since)
    assert server.get("/fine").body == b"fine"
    assert server.worker == worker
    # The message names what was wrong, so that nobody has to guess which header of many it was.
    for name, word in (("value_none", "X-A"), ("value_newline", "X-A"), ("hop_by_hop", "Connection"),
                       ("length_words", "ten"), ("name_colon", "X:A"), ("status_short", "20")):
        assert word in messages[name], (name, messages[name])


@pytest.mark.parametrize("length, sent", [("3", b"abc"), ("03", b"abc"), ("0", b"")])
def test_good_content_lengths(nginx, length, sent):
    server = serve(nginx, f"""
        def at_x(environ, start_response):
            start_response("200 OK", [("content-LENGTH", "{length}")])
            return [{sent!r}]
        """)
    answer = server.connect().request("GET", "/x")
    assert answer.status in (200, 500) and (answer.status == 500 or answer.body == sent)
    assert length == "03" or answer.status == 200
    assert len(answer.all("Content-Length")) == 1


def test_errors_of_start_response_can_be_caught_and_answered(nginx):
    server = serve(nginx, """
        def at_caught(environ, start_response):
            try:
                start_response("200 OK", [("X-Bad", "a\\nb")])
            except ValueError:
                start_response("400 Bad", [("X-Good", "1")], sys.exc_info())
            return [b"caught"]
        """)
    answer = server.get("/caught")
    assert (answer.status, answer.header("X-Good"), answer.header("X-Bad"), answer.body) == (400, "1", None, b"caught")
    assert not server.log_lines("raised")


def test_the_list_of_headers_belongs_to_the_application_afterwards(nginx):
    server = serve(nginx, """
        def at_change(environ, start_response):
            headers = [("X-One", "1")]
            start_response("200 OK", headers)
            headers.append(("X-Two", "2"))
            headers[0] = ("X-One", "changed\\r\\nX-Evil: 1")
            return [b"x"]
        """)
    answer = server.get("/change")
    # Whether the server copies at once or reads the list later, nothing unchecked may get out.
    assert answer.header("X-Evil") is None
    assert answer.header("X-One") == "1" or answer.status == 500
