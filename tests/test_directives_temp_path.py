"""wsgi_temp_path: where write() spills to, here over HTTP/2."""

import os

import pytest

from harness.conf import accepts, not_allowed, refuses, wrong_count
from harness.nginx import MODULE, open_fds, wait_for

NAME = "wsgi_temp_path"
WRITER = """
def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(64):
        write(b"x" * 65536)
    return []
"""


def files(path):
    return [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]


@pytest.mark.parametrize("levels", ["", " 1", " 1 2", " 1 2 3", " 2 1"])
def test_accepted(nginx, app, levels):
    app("")
    accepts(nginx("location / { wsgi_pass app.py; }", http=f"{NAME} %%FOLDER%%/spill{levels};", start=False))


@pytest.mark.parametrize("level", ["server", "location"])
def test_accepted_level(nginx, app, level):
    app("")
    directive = f"{NAME} %%FOLDER%%/spill;"
    accepts(nginx((directive if level == "server" else "")
                  + "location / { %s wsgi_pass app.py; }" % (directive if level == "location" else ""), start=False))


@pytest.mark.parametrize("directive, message", [
    (f"{NAME};", wrong_count(NAME)),
    (f"{NAME} a 1 2 3 4;", wrong_count(NAME)),
    (f"{NAME} a 0;", None),
    (f"{NAME} a 1 x;", None),
    (f"{NAME} a x;", None),
])
def test_refused(nginx, directive, message):
    server = nginx(f"\n{directive}\n", start=False)
    if message:
        refuses(server, directive, message)
    else:
        accepted, output = server.test_config()  # nginx's own words
        assert not accepted and "[emerg]" in output


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: f"{NAME} a;"}), NAME, not_allowed(NAME))


@pytest.mark.inline_only
def test_relative_to_the_prefix_and_used_by_write_over_http2(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", http=f"{NAME} spill 1 2;", apps={"app.py": WRITER}, h2c=True)
    assert (folder / "spill").is_dir()
    client = server.h2(hold=True)
    stream = client.send_request("GET", "/")
    client.wait(lambda: len(stream.body) == 65535, "a full window")
    spilled = [target for target in open_fds(server.worker).values() if str(folder / "spill") in target]
    assert spilled, "what the client does not take lies in a file"
    client.hold = False
    client.release()
    client.finish(stream)
    assert stream.complete and len(stream.body) == 64 * 65536
    wait_for(lambda: not files(folder / "spill"), "the temporary file is gone")


@pytest.mark.vendored_only
@pytest.mark.skipif("/vendored/" not in MODULE, reason="this module was built without NGX_HTTP_WSGI_TEMP_PATH")
def test_default_of_the_build_is_only_made_where_there_is_an_application(nginx, folder):
    """This build is made with NGX_HTTP_WSGI_TEMP_PATH=wsgi_temp_of_build."""
    default = "# wsgi_temp_path is not given"
    nginx("location / { wsgi_pass app.py; }", apps={"app.py": WRITER}, http=default).stop()
    assert (folder / "wsgi_temp_of_build").is_dir()
    second = nginx("location / { return 200; }", http=default)
    assert second.get("/").status == 200
    assert not (second.folder / "wsgi_temp_of_build").exists()
