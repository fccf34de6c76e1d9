"""An application that puts a client's text into X-Accel-Redirect: as with uwsgi_pass it reaches what nginx lets it
reach by that path, and no text leads out of a root or around a location.

test_as_uwsgi_pass_accel_redirect.py has what X-Accel-Redirect does for those who use it well.
"""

import urllib.parse

import pytest

pytestmark = pytest.mark.once

APP = """
    import urllib.parse

    def at_get(environ, start_response):
        environ["wsgi.input"].read()
        # The path comes without its name and is not decoded any further.
        text = urllib.parse.unquote(environ["QUERY_STRING"], encoding="latin-1")
        start_response("200 OK", [("X-Accel-Redirect", text)])
        return [b"never"]

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/get":
            return at_get(environ, start_response)
        return answer(start_response, b"hello")
    """
CONFIG = """
    absolute_redirect off;
    location / { twin_pass; }
    location /files/ { internal; alias %%FOLDER%%/files/; }
    location /rooted/ { internal; root %%FOLDER%%/root; }
    location /guarded/ { internal; root %%FOLDER%%/root; deny all; }
    location ~ ^/pattern/(.*)$ { internal; alias %%FOLDER%%/files/$1; }
    location /links/ { internal; root %%FOLDER%%/root; disable_symlinks on; }
"""
TRICKS = [
    "..", "../secret", "../../secret", "a/../../secret", "./../secret", ".../secret", "..;/secret", ";/../secret",
    "%2e%2e/secret", "%2E%2E/secret", "%2e./secret", ".%2e/secret", "..%2fsecret", "%2e%2e%2fsecret", "..%2Fsecret",
    "%2fsecret", "..%5csecret", "..\\secret", "%5c..%5csecret", "%252e%252e/secret", "%252e%252e%252fsecret",
    "..%252fsecret", "..%00/secret", "%00../secret", "small.txt%00.png", "small.txt\0.png", "..%c0%afsecret",
    "%c0%ae%c0%ae/secret", "\xc0\xae\xc0\xae/secret", "\xc0\xafsecret", "%e0%80%ae%e0%80%ae/secret",
    "\xef\xbc\x8e\xef\xbc\x8e/secret", "..\xff/secret", "//secret", "/../secret", "///../secret",
    "../files/../secret", "x/%2e%2e/%2e%2e/secret", "?/../../secret", "#/../secret", "..?", "..#", "%3f/../secret",
    "%23/../secret", "~/secret", "$document_root/secret", "${secret}", "small.txt/../../secret",
    "small.txt;../../secret", " ../secret", ".. /secret", "..%20/secret", "..%09/secret", "..%0a/secret",
    "%0d%0a../secret", "small.txt%0d%0aX-Evil:1", "secret", "link", "link/secret", "small.txt/", "small.txt%2f",
    "SMALL.TXT", "%73mall.txt", "x" * 3000,
]
STARTS = [
    "", "/", "/files/", "/files", "/files//", "//files/", "/rooted/", "/guarded/", "/pattern/", "/links/",
    "/guarded/../rooted/", "/rooted/../guarded/", "/rooted/%2e%2e/guarded/", "/files%2f", "/FILES/",
    "http://localhost/files/", "//localhost/files/", "file://",
]
SECRET = b"SECRET"


@pytest.fixture
def pair(twins):
    pair = twins(APP, CONFIG, shared="large_client_header_buffers 4 64k;", server="location / { return 200 no; }")
    folder = pair.server.folder
    for name in ("files", "root/rooted", "root/guarded", "root/links"):
        (folder / name).mkdir(parents=True)
        (folder / name / "small.txt").write_text("small")
    # Beside and above every root; reached by a link where links are followed, and else by nothing.
    for name in ("secret", "root/secret", "root/guarded/secret"):
        (folder / name).write_bytes(SECRET)
    (folder / "root/links/link").symlink_to(folder / "secret")
    # Names that cannot be opened: too long, NUL, a file in the place of a folder.
    pair.server.allow(r"\[crit\].*(open|stat|openat)\(\)")
    return pair


def test_tricks_lead_nowhere(pair):
    found = set()
    for start in STARTS:
        for trick in TRICKS:
            target = "/get?" + urllib.parse.quote(start + trick, safe="", encoding="latin-1")
            if any(character in start + trick for character in "\0\r\n"):
                # Refused before nginx hears of it.
                assert pair.wsgi.request("GET", target).status == 500
                continue
            answer = pair.get(target)
            assert SECRET not in answer.body, f"{start + trick!r}: {answer}"
            assert answer.header("X-Evil") is None and b"never" not in answer.body, f"{start + trick!r}: {answer}"
            found.add(answer.status)
            if answer.body == b"small":
                found.add("small")
    # Both kinds were there: paths that lead to a file, and paths that lead nowhere.
    assert {200, 403, 404, "small"} <= found
    assert pair.get("/hello").body == b"hello"


def test_internal_locations_are_no_clients(pair):
    """What an application may send to, no client may ask for, whatever it writes."""
    for start in STARTS:
        for trick in ("small.txt", "%2e/small.txt", "x/../small.txt", "%2e%2e/files/small.txt", "%73mall.txt"):
            answer = pair.get((start + trick).replace(" ", "%20"))
            assert answer.body not in (b"small", SECRET), f"{start + trick!r}: {answer}"
