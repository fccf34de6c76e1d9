"""Misuse of start_response is raised in the application, where its author sees it."""

import pytest

APP = """
import traceback


def application(environ, start_response):
    answers = []
    try:
        {call}
    except BaseException as error:
        answers.append(f"{{type(error).__name__}}: {{error}}")
    else:
        answers.append("nothing raised")
    try:
        start_response("200 OK", [("Content-Type", "text/plain")])
    except BaseException as error:
        import sys
        start_response("200 OK", [("Content-Type", "text/plain")], sys.exc_info())
    return [answers[0].encode("utf-8", "backslashreplace")]


def unguarded(environ, start_response):
    {call}
    return [b"not reached"]


def normal(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"normal"]
"""
SERVER = """
    location / { wsgi_pass app.py; }
    location /unguarded { wsgi_pass app.py unguarded; }
    location /normal { wsgi_pass app.py normal; }
"""

CASES = [
    # kinds
    ("start_response()", "TypeError"),
    ("start_response('200 OK')", "TypeError"),
    ("start_response('200 OK', [], None, None)", "TypeError"),
    ("start_response(b'200 OK', [])", "TypeError"),
    ("start_response(200, [])", "TypeError"),
    ("start_response(None, [])", "TypeError"),
    ("start_response('200 OK', None)", "TypeError"),
    ("start_response('200 OK', ())", "TypeError"),
    ("start_response('200 OK', {})", "TypeError"),
    ("start_response('200 OK', iter([]))", "TypeError"),
    ("start_response('200 OK', [['Content-Type', 'a/b']])", "TypeError"),
    ("start_response('200 OK', [('Content-Type',)])", "TypeError"),
    ("start_response('200 OK', [('A', 'b', 'c')])", "TypeError"),
    ("start_response('200 OK', ['ab'])", "TypeError"),
    ("start_response('200 OK', [(b'Content-Type', 'a/b')])", "TypeError"),
    ("start_response('200 OK', [('Content-Type', b'a/b')])", "TypeError"),
    ("start_response('200 OK', [('Content-Length', 5)])", "TypeError"),
    ("start_response('200 OK', [('X', None)])", "TypeError"),
    ("start_response('200 OK', [], 'exc')", "TypeError"),
    ("start_response('200 OK', [], (1, 2))", "TypeError"),
    # status
    ("start_response('', [])", "ValueError"),
    ("start_response('OK', [])", "ValueError"),
    ("start_response('20', [])", "ValueError"),
    ("start_response('2000 OK', [])", "ValueError"),
    ("start_response('20x OK', [])", "ValueError"),
    ("start_response(' 200 OK', [])", "ValueError"),
    ("start_response('099 Low', [])", "ValueError"),
    ("start_response('-20 Low', [])", "ValueError"),
    ("start_response('200 OK\\r\\nX-Injected: yes', [])", "ValueError"),
    ("start_response('200 OK\\n', [])", "ValueError"),
    ("start_response('200 O\\x00K', [])", "ValueError"),
    ("start_response('200 \\u2603', [])", "ValueError"),
    ("start_response('\\u0662\\u0660\\u0660 OK', [])", "ValueError"),
    # header names
    ("start_response('200 OK', [('', 'x')])", "ValueError"),
    ("start_response('200 OK', [('A B', 'x')])", "ValueError"),
    ("start_response('200 OK', [('A:', 'x')])", "ValueError"),
    ("start_response('200 OK', [('A\\r\\nB', 'x')])", "ValueError"),
    ("start_response('200 OK', [('A\\x00', 'x')])", "ValueError"),
    ("start_response('200 OK', [('Ä', 'x')])", "ValueError"),
    # header values
    ("start_response('200 OK', [('X', 'a\\r\\nX-Injected: yes')])", "ValueError"),
    ("start_response('200 OK', [('X', 'a\\nb')])", "ValueError"),
    ("start_response('200 OK', [('X', 'a\\rb')])", "ValueError"),
    ("start_response('200 OK', [('X', 'a\\x00b')])", "ValueError"),
    ("start_response('200 OK', [('X', 'a\\x1bb')])", "ValueError"),
    ("start_response('200 OK', [('X', 'a\\x7fb')])", "ValueError"),
    ("start_response('200 OK', [('X', '\\u2603')])", "ValueError"),
    ("start_response('200 OK', [('Location', '/a\\r\\nSet-Cookie: a=b')])", "ValueError"),
    # lengths
    ("start_response('200 OK', [('Content-Length', '-1')])", "ValueError"),
    ("start_response('200 OK', [('Content-Length', '')])", "ValueError"),
    ("start_response('200 OK', [('Content-Length', '1.5')])", "ValueError"),
    ("start_response('200 OK', [('Content-Length', '0x10')])", "ValueError"),
    ("start_response('200 OK', [('Content-Length', '+1')])", "ValueError"),
    ("start_response('200 OK', [('Content-Length', '99999999999999999999')])", "ValueError"),
    ("start_response('200 OK', [('Content-Length', '1'), ('Content-Length', '2')])", "ValueError"),
    # hop by hop
    *[(f"start_response('200 OK', [('{name}', 'x')])", "ValueError")
      for name in ("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
                   "Transfer-Encoding", "Upgrade", "connection", "TRANSFER-ENCODING")],
    # order
    ("start_response('200 OK', []), start_response('200 OK', [])", "RuntimeError"),
]


@pytest.fixture(scope="module")
def shared():
    """One server for all cases would need one script each; made once, they are served together."""
    import pathlib
    import shutil
    import tempfile

    from harness.nginx import Nginx

    folder = pathlib.Path(tempfile.mkdtemp(prefix="wsgi-"))
    folder.chmod(0o755)
    locations = []
    for number, (call, _) in enumerate(CASES):
        (folder / f"app{number}.py").write_text(APP.format(call=call))
        locations.append(f"""
            location /{number}/guarded {{ wsgi_pass app{number}.py; }}
            location /{number}/unguarded {{ wsgi_pass app{number}.py unguarded; }}
            location /{number}/normal {{ wsgi_pass app{number}.py normal; }}
        """)
    server = Nginx(folder, "\n".join(locations)).start()
    yield server
    try:
        server.stop()
    finally:
        server.kill()
    shutil.rmtree(folder)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[call[:70] for call, _ in CASES])
def test_raised_in_the_application(shared, number):
    _, kind = CASES[number]
    with shared.connect() as client:
        answer = client.request("GET", f"/{number}/guarded")
        assert answer.status == 200
        assert answer.text.startswith(f"{kind}: "), answer.text
        assert len(answer.text) > len(kind) + 10, "a message that helps"
        assert answer.header("X-Injected") is None and answer.header("Set-Cookie") is None


@pytest.mark.parametrize("number", range(len(CASES)), ids=[call[:70] for call, _ in CASES])
def test_uncaught_it_is_a_500(shared, number):
    worker = shared.worker
    since = shared.log_size()
    answer = shared.get(f"/{number}/unguarded")
    assert answer.status == 500
    assert answer.header("X-Injected") is None
    shared.wait_for_log(rf'application "\S+/app{number}\.py:unguarded" raised', since=since)
    assert shared.get(f"/{number}/normal").text == "normal"
    assert shared.worker == worker


def test_message_names_what_is_wrong(nginx):
    call = "start_response('200 OK', [('Transfer-Encoding', 'chunked')])"
    server = nginx(SERVER, apps={"app.py": APP.format(call=call)})
    assert "Transfer-Encoding" in server.get("/").text


def test_kept_callables_after_the_request(nginx):
    """start_response, write and the input of a request that is over raise; they touch no other request."""
    server = nginx("location / { wsgi_pass app.py; } location /later { wsgi_pass app.py later; }", apps={"app.py": """
kept = {}


def application(environ, start_response):
    kept["start_response"] = start_response
    kept["write"] = start_response("200 OK", [("Content-Type", "text/plain")])
    kept["input"] = environ["wsgi.input"]
    kept["errors"] = environ["wsgi.errors"]
    kept["wrapper"] = environ["wsgi.file_wrapper"]
    return [b"ok"]


def attempt(function, *args):
    try:
        function(*args)
    except BaseException as error:
        return f"{type(error).__name__}"
    return "nothing"


def later(environ, start_response):
    lines = [
        attempt(kept["start_response"], "200 OK", []),
        attempt(kept["write"], b"late"),
        attempt(kept["input"].read),
        attempt(kept["input"].readline),
        attempt(list, kept["input"]),
    ]
    kept["errors"].write("late error line\\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(lines).encode()]
"""})
    assert server.post("/", b"body").text == "ok"
    assert server.get("/later").text == "RuntimeError RuntimeError ValueError ValueError ValueError"
    server.wait_for_log("late error line")
