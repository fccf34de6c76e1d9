"""wsgi_status as a page: complete, well-formed, and nothing that came from a client is markup."""

import html
import html.parser
import json
import re
import shutil
import subprocess

import pytest

from harness.apps import serve, touch, wait_notes
from harness.status import LOCATION, status, wait_requests

pytestmark = pytest.mark.once

APP = """
def at_hello(environ, start_response):
    return answer(start_response, b"hello")

def at_block(environ, start_response):
    note("blocked")
    block_until_there("go")
    return answer(start_response, b"done")
"""
SERVER = "wsgi_block_warning off; location / { wsgi_pass app.py; }" + LOCATION
HOSTILE = [
    b"/block/<script>alert(1)</script>",
    b"/block/?\"onmouseover='alert(1)'",
    b"/block/?a=1&lt;b&amp;amp;",
    b"/block/?\xff\xfe\xe2\x80\xae\xc2\x85",
    b"/block/?%3Cscript%3E%00",
    b"/block/?</code></td></table><h1>",
]
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(html.parser.HTMLParser):
    """Fails at a tag that does not close what is open, and at an element that the page has no need of."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.classes, self.text, self.cells = [], set(), set(), [], []
        self.links, self.metas = [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"
        assert not self.rawdata, self.rawdata

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, names)
        attributes = dict(attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        self.seen.add(tag)
        self.classes.update(attributes.get("class", "").split())
        self.links += [attributes["href"]] if "href" in attributes else []
        if tag == "meta":
            self.metas.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if self.open and self.open[-1] == "code":
            self.cells.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


ELEMENTS = {"html", "head", "meta", "title", "style", "body", "header", "nav", "h1", "h2", "h3", "p", "a", "section",
            "dl", "div", "dt", "dd", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "span", "code",
            "pre", "small"}


def page(server, target="/status"):
    answer = server.get(target)
    assert (answer.status, answer.header("Content-Type")) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>\n<html lang=\"en\">")
    parsed = Page(answer.text)
    assert parsed.seen <= ELEMENTS, parsed.seen - ELEMENTS
    return parsed


def test_what_it_shows(nginx):
    server = serve(nginx, APP, SERVER)
    for _ in range(3):
        server.get("/hello")
    parsed = page(server)
    assert f"{server.folder}/app.py" in parsed.words
    assert re.search(r"requests 3 ", parsed.words)
    assert str(server.worker) in parsed.words
    assert "Requests in flight 0 None." in parsed.words
    assert set(parsed.links) == {"?stacks=1", "?format=json", "?format=prometheus"}


def test_it_refreshes_itself_and_fits_a_phone(nginx):
    server = serve(nginx, APP, SERVER)
    metas = page(server).metas
    assert {"http-equiv": "refresh", "content": "5"} in metas
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    # Stacks stand still, to be read.
    metas = page(server, "/status?stacks=1").metas
    assert not any("http-equiv" in meta for meta in metas)


def test_needs_nothing_from_elsewhere_and_says_so(nginx):
    server = serve(nginx, APP, SERVER)
    answer = server.get("/status")
    assert not re.search(r"<script|@import|url\(|https?://|src=", answer.text)
    policy = answer.header("Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert answer.header("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize("target", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_addresses(nginx, target):
    server = serve(nginx, APP, SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", target)
    wait_notes(server, "blocked")
    (request,) = wait_requests(server)
    shown = "".join(chr(byte) if 0x20 < byte < 0x7f else f"%{byte:02X}" for byte in target)
    assert request["target"] == shown
    assert page(server).cells == [f"GET {shown}"]
    touch(server, "go")
    assert client.read_response().body == b"done"


def test_hostile_names(nginx):
    """Names come from the configuration, and still."""
    server = serve(nginx, APP, """wsgi_enable_subinterpreters on; location / {
        wsgi_interpreter '<b>"bold"&</b>'; wsgi_pass app.py; }""" + LOCATION)
    assert "in interpreter <b>\"bold\"&</b>" in page(server).words
    assert html.escape("<b>\"bold\"&</b>") in server.get("/status").text


def test_a_long_address_is_cut(nginx):
    server = serve(nginx, APP, SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", "/block/" + "x" * 5000)
    wait_notes(server, "blocked")
    (request,) = wait_requests(server)
    assert request["target"] == "/block/" + "x" * (256 - len("GET /block/"))
    page(server)
    touch(server, "go")
    client.read_response()


def test_stacks(nginx):
    """Of a request that holds the event loop of another worker."""
    server = serve(nginx, APP, SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", "/block/<here>")
    wait_notes(server, "blocked")
    wait_requests(server)
    parsed = page(server, "/status?stacks=1")
    assert "pre" in parsed.seen
    assert re.search(r"in at_block block_until_there\(\"go\"\)", parsed.words), parsed.words
    assert "pre" not in page(server).seen
    (request,) = status(server, "&stacks=1")["requests"]
    assert "block_until_there" in request["stack"]
    touch(server, "go")
    assert client.read_response().body == b"done"
    assert status(server, "&stacks=1")["requests"] == []


def test_stacks_of_a_sub_interpreter(nginx):
    server = serve(nginx, APP, "wsgi_enable_subinterpreters on;" + SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", "/block/")
    wait_notes(server, "blocked")
    wait_requests(server)
    (request,) = status(server, "&stacks=1")["requests"]
    assert "in at_block" in request["stack"]
    touch(server, "go")
    client.read_response()


GREEDY = """
import ctypes

def at_greedy(environ, start_response):
    note("greedy")
    # PyDLL keeps the GIL.
    ctypes.PyDLL(None).usleep(900_000 * 4)
    return answer(start_response, b"done")
"""


@pytest.mark.slow
def test_stacks_of_a_worker_that_keeps_the_gil(nginx):
    """It is waited for, two seconds, and the others' are there."""
    server = serve(nginx, APP + GREEDY, SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", "/greedy/")
    wait_notes(server, "greedy")
    (request,) = wait_requests(server)
    seen = status(server, "&stacks=1")
    processes = [process for worker in seen["workers"] for process in worker["processes"]]
    answered = {process["pid"]: process["has_answered"] for process in processes}
    assert answered.pop(request["pid"]) is False
    assert list(answered.values()) == [True]
    assert seen["requests"][0]["stack"] is None
    assert client.read_response().body == b"done"


def test_a_client_that_does_not_wait_for_stacks(nginx):
    server = serve(nginx, APP + GREEDY, SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", "/greedy/")
    wait_notes(server, "greedy")
    asking = server.connect()
    asking.send_request("GET", "/status?stacks=1")
    asking.reset()
    assert server.get("/status").status == 200
    assert client.read_response().body == b"done"


def chromium():
    return next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)


@pytest.mark.skipif(not chromium(), reason="there is no Chromium")
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(nginx, folder, width):
    """Nothing sticks out at the side, whatever the width, and no script runs."""
    server = serve(nginx, APP, SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", "/block/<script>document.title='owned'</script>" + "x" * 200)
    wait_notes(server, "blocked")
    wait_requests(server)
    text = server.get("/status?stacks=1").text
    # The page in a frame of the width of the window, because a window cannot be as narrow as a phone.
    (folder / "frame.html").write_text(f"""<!DOCTYPE html><iframe style="width:{width}px;height:3000px;border:0"
        srcdoc="{html.escape(text)}" onload="const page = this.contentDocument; const root = page.documentElement;
        const cells = [...page.querySelectorAll('th, td, dd, dt')];
        document.title = JSON.stringify([root.scrollWidth, root.clientWidth, page.title,
                                         cells.filter(e => e.scrollWidth > e.clientWidth + 1).length])"></iframe>""")
    done = subprocess.run([chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
                           f"--user-data-dir={folder}/browser", "--dump-dom", f"file://{folder}/frame.html"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
    found = re.search("<title>(.*?)</title>", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-2000:]
    scroll, client_width, title, cut = json.loads(html.unescape(found.group(1)))
    assert (scroll, title, cut) == (client_width, "WSGI status", 0)
    touch(server, "go")
    client.read_response()
