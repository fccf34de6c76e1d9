"""X-Accel-Charset: the application says in which charset nginx's charset filter is to answer, as with uwsgi_pass."""

import urllib.parse

import pytest

APP = """
    import urllib.parse

    def at_text(environ, start_response):
        wanted = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        headers = [("Content-Type", wanted.get("type", "text/html"))]
        if "charset" in wanted:
            headers.append(("X-Accel-Charset", wanted["charset"]))
        start_response("200 OK", headers)
        return ["\\u0410\\u0430 abc".encode("utf-8")]

    def at_to(environ, start_response):
        start_response("200 OK", [("X-Accel-Charset", environ["QUERY_STRING"]), ("X-Accel-Redirect", "/file.html"),
                                  ("Content-Type", "text/html")])
        return []
    """
MAPS = """
    charset_map windows-1251 utf-8 { C0 D090; E0 D0B0; }
    charset_map koi8-r utf-8 { E1 D090; C1 D0B0; }
    charset_map koi8-r windows-1251 { E1 C0; C1 E0; }
    """
CONFIG = """
    location / { twin_pass; }
    location /utf/ { charset utf-8; rewrite ^/utf(.*)$ $1 break; twin_pass; }
    location /source/ { charset utf-8; source_charset utf-8; rewrite ^/source(.*)$ $1 break; twin_pass; }
    location /both/ { charset windows-1251; source_charset utf-8; rewrite ^/both(.*)$ $1 break; twin_pass; }
    location /override/ { charset koi8-r; source_charset utf-8; override_charset on;
                          rewrite ^/override(.*)$ $1 break; twin_pass; }
    location /file.html { internal; root %%FOLDER%%; charset koi8-r; source_charset utf-8; }
    """
UTF, WINDOWS, KOI = ("Аа abc".encode(name) for name in ("utf-8", "windows-1251", "koi8-r"))


@pytest.fixture
def pair(twins):
    made = twins(APP, CONFIG, shared=MAPS)
    (made.server.folder / "file.html").write_bytes(UTF)
    return made


def ask(pair, place, **wanted):
    # One side derives a Content-Length from a list of one block, the other one does not.
    return pair.get(f"{place}/text?" + urllib.parse.urlencode(wanted), ignore=("Content-Length", "Transfer-Encoding"))


@pytest.mark.parametrize("place", ["", "/utf", "/source", "/both", "/override"])
def test_every_value_in_every_location(pair, place):
    for charset in (None, "koi8-r", "windows-1251", "KOI8-R", "utf-8", "off", "", "unknown", "off "):
        for kind in ("text/html", "text/plain", "image/png", "text/html; charset=utf-8", "text/html;charset=koi8-r"):
            answer = ask(pair, place, type=kind, **({} if charset is None else {"charset": charset}))
            assert answer.status == 200 and answer.header("X-Accel-Charset") is None


@pytest.mark.parametrize("charset, body", [("windows-1251", WINDOWS), ("koi8-r", KOI), ("utf-8", UTF)])
def test_the_body_is_converted(pair, charset, body):
    answer = ask(pair, "/source", charset=charset)
    assert (answer.header("Content-Type"), answer.body) == (f"text/html; charset={charset}", body)


def test_off(pair):
    answer = ask(pair, "/both", charset="off")
    assert (answer.header("Content-Type"), answer.body) == ("text/html", UTF)


def test_without_a_source_charset_nothing_is_converted(pair):
    answer = ask(pair, "", charset="koi8-r")
    assert (answer.header("Content-Type"), answer.body) == ("text/html; charset=koi8-r", UTF)


def test_with_a_redirect(pair):
    for charset in ("windows-1251", "utf-8", "off"):
        answer = pair.get(f"/to?{charset}")
        assert answer.status == 200


def test_the_last_of_several_counts(twins):
    pair = twins("""
        def at_two(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "1"),
                                      ("X-Accel-Charset", "koi8-r"), ("X-Accel-Charset", "windows-1251")])
            return [b"x"]
        """, "location / { charset utf-8; twin_pass; }", shared=MAPS)
    assert pair.get("/two").header("Content-Type") == "text/html; charset=windows-1251"
