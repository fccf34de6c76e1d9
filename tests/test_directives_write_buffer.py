"""wsgi_write_buffer_size, and the default of wsgi_temp_path."""

import pytest

from harness.apps import serve, touch, wait_notes
from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count
from harness.nginx import MODULE, open_fds, wait_for

SIZE = "wsgi_write_buffer_size"
TEMP = "wsgi_temp_path %%FOLDER%%/temp_wsgi;"
APP = """
    def at_write(environ, start_response):
        # So many bytes, and then a pause.
        write = start_response("200 OK", PLAIN)
        write(b"x" * int(environ["QUERY_STRING"]))
        note("written")
        block_until_there("go")
        return []
    """


# -- the size ---------------------------------------------------------------------------------------------------------

def spills(server, size):
    """Whether so many bytes go to a file."""
    client = server.connect()
    client.send_request("GET", f"/write?{size}")
    wait_notes(server, "written")
    found = [target for target in open_fds(server.worker).values() if "temp_wsgi" in target]
    touch(server, "go")
    assert client.read_response().body == b"x" * size
    return bool(found)


@pytest.mark.parametrize("value, size, wanted", [
    # The default is a page.
    ("", 4096, False), ("", 70_000, True),
    ("1", 2, True), ("100", 100, False), ("100", 101, True), ("4k", 4096, False), ("4k", 4097, True),
    ("64K", 65536, False), ("64k", 65537, True), ("1m", 1048576, False), ("1M", 1048577, True),
])
def test_how_much_stays_in_memory(nginx, value, size, wanted):
    directive = f"{SIZE} {value};" if value else ""
    server = serve(nginx, APP, f"location / {{ wsgi_write_buffering on; {directive} wsgi_pass app.py; }}", http=TEMP)
    assert spills(server, size) == wanted


@pytest.mark.parametrize("http, server, location, wanted", [
    ("64k", "", "", False), ("", "64k", "", False), ("", "", "64k", False), ("64k", "1k", "", True),
    ("64k", "", "1k", True), ("1k", "64k", "", False), ("1k", "1k", "64k", False),
])
def test_inheritance_of_the_size(nginx, http, server, location, wanted):
    http, server, location = (f"{SIZE} {value};" if value else "" for value in (http, server, location))
    made = serve(nginx, APP, f"wsgi_write_buffering on; {server} location / {{ {location} wsgi_pass app.py; }}",
                 http=TEMP + http)
    assert spills(made, 20_000) == wanted


@pytest.mark.parametrize("http, server, location, waits", [
    ("on", "", "", True), ("", "on", "", True), ("", "", "on", True), ("on", "off", "", False),
    ("on", "", "off", False), ("off", "", "on", True), ("", "", "", False),
])
def test_inheritance_of_the_flag(nginx, http, server, location, waits):
    http, server, location = (f"wsgi_write_buffering {value};" if value else "" for value in (http, server, location))
    made = serve(nginx, APP, server + f"location / {{ {location} wsgi_pass app.py; }}", http=TEMP + http)
    touch(made, "go")
    # The length of a response is known only if all of it is.
    assert (made.get("/write?10").header("Content-Length") == "10") == waits


@pytest.mark.parametrize("value", ["1", "4k", "4K", "16m", "1M", "65536"])
@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_size_accepted(nginx, app, value, level):
    app("")
    text = {name: f"{SIZE} {value};" if name == level else "" for name in ("http", "server", "location")}
    accepts(nginx(text["server"] + "location / { %s wsgi_pass app.py; }" % text["location"], http=text["http"],
                  start=False))


@pytest.mark.parametrize("directive, message", [
    (f"{SIZE};", wrong_count(SIZE)), (f"{SIZE} 4k 8k;", wrong_count(SIZE)), (f"{SIZE} 4k; {SIZE} 8k;", duplicate(SIZE)),
    *[(f"{SIZE} {value};", f'"{SIZE}" directive takes a size above 0')
      for value in ("0", "0k", "x", "-1", "4kk", "1g", "1.5k", "k", '""', "on", "99999999999999999999")],
])
def test_size_refused(nginx, directive, message):
    refuses(nginx(f"\n{directive}\n", start=False), directive, message)


@pytest.mark.parametrize("place", ["main", "events", "if"])
def test_refused_level_of_the_size(nginx, place):
    if place == "if":
        server = nginx(f"location / {{ if ($arg_x) {{\n{SIZE} 4k;\n}} }}", start=False)
    else:
        server = nginx(start=False, **{place: f"{SIZE} 4k;"})
    refuses(server, SIZE, not_allowed(SIZE))


# -- where the files are ----------------------------------------------------------------------------------------------

def held(server, folder):
    return [target for target in open_fds(server.worker).values() if target.startswith(str(folder))]


@pytest.mark.vendored_only
@pytest.mark.skipif("/vendored/" not in MODULE, reason="this module was built without NGX_HTTP_WSGI_TEMP_PATH")
def test_the_default_of_the_build_is_below_the_prefix(nginx):
    """The vendored build is made with NGX_HTTP_WSGI_TEMP_PATH=wsgi_temp_of_build."""
    server = serve(nginx, APP, "location / { wsgi_write_buffering on; wsgi_pass app.py; }",
                   http="# wsgi_temp_path is not given")
    folder = server.folder / "wsgi_temp_of_build"
    assert folder.is_dir() and not (server.folder / "wsgi_temp").exists()
    client = server.connect()
    client.send_request("GET", "/write?100000")
    wait_notes(server, "written")
    assert held(server, folder)
    touch(server, "go")
    assert len(client.read_response().body) == 100_000
    wait_for(lambda: not held(server, folder), "file closed")


@pytest.mark.parametrize("http, server, location, used", [
    ("one", "", "", "one"), ("one", "two", "", "two"), ("one", "two", "three 1 2", "three"),
    ("one", "", "three", "three"),
])
def test_inheritance_of_the_path(nginx, http, server, location, used):
    http, server, location = (f"wsgi_temp_path {value};" if value else "" for value in (http, server, location))
    made = serve(nginx, APP, f"wsgi_write_buffering on; {server} location / {{ {location} wsgi_pass app.py; }}",
                 http=http)
    client = made.connect()
    client.send_request("GET", "/write?100000")
    wait_notes(made, "written")
    assert [name for name in ("one", "two", "three") if held(made, made.folder / name)] == [used]
    touch(made, "go")
    assert len(client.read_response().body) == 100_000
