"""docs/asynchronous.md: configuration loads, Python compiles, links lead somewhere, names are those that there are."""

import re

import pytest

from harness.docs import assert_loads, blocks
from harness.nginx import ROOT, wait_for

TEXT = (ROOT / "docs" / "asynchronous.md").read_text()
DIRECTIVES = (ROOT / "docs" / "directives.md").read_text()


@pytest.mark.parametrize("example", blocks(TEXT))
def test_configuration_loads(nginx, example):
    assert_loads(nginx(start=False), example)


@pytest.mark.parametrize("example", blocks(TEXT, "python"))
def test_python_compiles(example):
    compile(example, "docs/asynchronous.md", "exec")


def of_the_page(text):
    """The one example with this text in it."""
    [found] = [block for block in blocks(TEXT, "python") if text in block]
    return found


SCRIPTS = {
    "sleep.py": ("", "x-wsgiorg.suspend\"](1000)", ""),
    "executor.py": ("""
from concurrent.futures import ThreadPoolExecutor
executor = ThreadPoolExecutor(1)
compute = lambda: b"computed"
""", "x-wsgiorg.suspend\"](5000)", ""),
    "poll.py": ("import socket\n", "ngx.connection_wrapper", """
def application(environ, start_response):
    pairs = [socket.socketpair() for _ in range(2)]
    pairs[1][1].send(b"x")
    found = yield from first_answer(environ, [ours for ours, _ in pairs])
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"second" if found is pairs[1][0] else b"wrong"
    for pair in pairs:
        for sock in pair:
            sock.close()
"""),
    "parts.py": ("", "ngx.subrequest", ""),
    "watch.py": ("import socket\n", "def readable(event)", """
def application(environ, start_response):
    ours, theirs = socket.socketpair()
    resume = environ["wsgi.pause_output"]()
    messages = []
    watch(ours, lambda data: (messages.append(data), resume()))
    theirs.send(b"a message")
    yield b""
    theirs.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield messages[0]
"""),
    "news.py": ("waiting = set()\n", "wsgi.pause_output", """
def wake(environ, start_response):
    for resume in waiting:
        resume()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(waiting)).encode()]
"""),
}


@pytest.fixture
def examples(nginx):
    locations = [f"location = /{name[:-3]} {{ wsgi_pass {name}; }}" for name in SCRIPTS]
    return nginx("\n".join([*locations, "location /wake { wsgi_pass news.py wake; }",
                            "location /parts/header { return 200 'header '; }"]),
                 apps={name: before + of_the_page(line) + after for name, (before, line, after) in SCRIPTS.items()})


@pytest.mark.inline_only
@pytest.mark.parametrize("target, body", [
    ("/sleep", "Good morning.\n"), ("/executor", "computed"), ("/poll", "second"), ("/parts", "header no news today"),
    ("/watch", "a message"),
])
def test_python_runs(examples, target, body):
    answer = examples.get(target)
    assert (answer.status, answer.text) == (200, body)


@pytest.mark.inline_only
def test_news_are_waited_for(examples):
    with examples.connect() as client:
        client.send_request("GET", "/news")
        wait_for(lambda: examples.get("/wake").text == "1", "somebody waits")
        assert client.read_response().text == "news\n"
    assert examples.get("/wake").text == "0"


def test_links_lead_somewhere():
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", TEXT, flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        path = (ROOT / "docs" / name).resolve() if name else ROOT / "docs" / "asynchronous.md"
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_named_directives_are_documented():
    documented = set(re.findall(r"^## (wsgi_\w+)$", DIRECTIVES, flags=re.M)) | {"wsgi_time"}
    assert set(re.findall(r"(?<![\w.-])wsgi_\w+", TEXT)) <= documented


SHOWS = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(sorted(key for key in environ if key[:4] in ("ngx.", "x-ws", "wsgi"))).encode()]
"""


def test_every_key_is_described(nginx):
    """Here and in the table of environ; and with threads there is none of them."""
    server = nginx("""
        location / { wsgi_pass app.py; wsgi_threads 0; }
        location /threads { wsgi_pass app.py; wsgi_threads 1; }
    """, apps={"app.py": SHOWS})
    inline = set(server.get("/").text.split()) - set(server.get("/threads").text.split())
    named = set(re.findall(r'environ\["([\w.-]+)"\]|`((?:ngx|wsgi|x-wsgiorg)\.[\w.-]+)', TEXT))
    named = {first or second for first, second in named}
    assert "wsgi.pause_output" in inline and inline <= named, inline - named
    table = DIRECTIVES[DIRECTIVES.index("\n## environ\n"):]
    for key in inline:
        # "x-wsgiorg.fdevent.readable", ".writable"
        assert f"`{key}`" in table or f"`.{key.rpartition('.')[2]}`" in table, key
