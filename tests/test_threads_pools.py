"""wsgi_thread_pool: threads with a name, shared by applications and interpreters."""

import re

from harness.apps import notes, touch, wait_notes
from harness.interpreters import ENABLE, WHO
from harness.threads import ask, serve, wait_in_nginx

OTHER = """
import json
import threading


def application(environ, start_response):
    body = json.dumps([environ["SCRIPT_NAME"], threading.get_ident()]).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""
FULL = r'\[error\].*wsgi: the queue of thread pool "shop" is full \(2 threads, 1 waiting\), 503'


def test_locations_and_applications_share_its_limit(nginx):
    server = serve(nginx, server="""
        wsgi_threads shop;
        location / { wsgi_pass app.py; }
        location /wait { wsgi_pass app.py; wsgi_script_name ""; }
        location /other/ { wsgi_pass other.py; }
        location /free/ { wsgi_threads 1; wsgi_pass other.py; }
        location /inline/ { wsgi_threads 0; wsgi_pass third.py; }
        """, http="wsgi_thread_pool shop threads=2 queue=1;", apps={"other.py": OTHER, "third.py": OTHER})
    waiting = [ask(server, f"/wait?{number}") for number in range(2)]
    wait_notes(server, "wait", 2)
    queued = ask(server, "/other/")
    wait_in_nginx(server, 3)
    for target in ("/other/", "/hello", "/wait?never"):
        answer = server.get(target)
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
    server.wait_for_log(FULL)
    # Other threads are not concerned.
    assert server.get("/free/").json()[0] == "/free"
    assert server.get("/inline/").json()[0] == "/inline"
    touch(server, "0")
    assert queued.read_response().json()[0] == "/other"
    touch(server, "1")
    assert [client.read_response().text for client in waiting] == ["0", "1"]
    assert notes(server, "hello") == []


def test_order_is_that_of_all_locations(nginx):
    server = serve(nginx, """
        def at_turn(environ, start_response):
            note("turn", environ["QUERY_STRING"])
            return answer(start_response, b"turn")
        """, server="""
        wsgi_threads shop;
        location / { wsgi_pass app.py; }
        location /b/ { wsgi_pass %%FOLDER%%/b.py; }
        """, http="wsgi_thread_pool shop threads=1;", apps={"b.py": """
import os

def application(environ, start_response):
    with open(os.path.join(os.path.dirname(__file__), "notes"), "a") as file:
        file.write("turn " + environ["QUERY_STRING"] + "\\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"turn"]
"""})
    first = ask(server, "/wait?go")
    clients = []
    for number in range(8):
        clients.append(ask(server, f"/{'b/' if number % 2 else 'turn'}?{number}"))
        wait_in_nginx(server, number + 2)
    touch(server, "go")
    assert first.read_response().body == b"go"
    assert [client.read_response().body for client in clients] == [b"turn"] * 8
    assert notes(server, "turn") == [f"turn {number}" for number in range(8)]


def test_interpreters_share_a_pool(nginx):
    text = WHO + """
local = threading.local()

def at_me(environ, start_response):
    local.seen = getattr(local, "seen", []) + [who()]
    return answer(start_response, [who(), threading.get_ident(), local.seen, NAME])
"""
    server = serve(nginx, text, server="""
        wsgi_threads shared;
        location / { wsgi_pass app.py; wsgi_use_main_interpreter on; }
        location /one/ { wsgi_pass one.py; }
        location /two/ { wsgi_pass two.py; }
        """, http=ENABLE + "wsgi_thread_pool shared threads=1;", start=False)
    for name in ("one", "two"):
        (server.folder / f"{name}.py").write_text((server.folder / "app.py").read_text())
    server.start()
    clients = {name: server.connect() for name in ("", "one/", "two/")}
    found = {}
    for turn in range(1, 4):
        for name, client in clients.items():
            number, ident, seen, file = client.request("GET", f"/{name}me").json()
            # Thread-locals belong to an interpreter, the thread is the same.
            assert seen == [number] * turn
            assert found.setdefault(name, (number, ident)) == (number, ident)
            assert file == (name.rstrip("/") or "app")
    numbers, idents = zip(*found.values())
    assert numbers[0] == 0 and len(set(numbers)) == 3
    assert len(set(idents)) == 1


def test_interpreters_compete_for_the_threads_of_a_pool(nginx):
    server = serve(nginx, server="""
        wsgi_threads shared;
        location / { wsgi_pass app.py; }
        location /one/ { wsgi_pass one.py; }
        """, http=ENABLE + "wsgi_thread_pool shared threads=2 queue=0;", start=False)
    (server.folder / "one.py").write_text((server.folder / "app.py").read_text())
    server.start()
    clients = [ask(server, "/wait?a"), ask(server, "/one/wait?b")]
    wait_notes(server, "wait", 2)
    for target in ("/hello", "/one/hello"):
        assert server.get(target).status == 503
    for name, client in zip("ab", clients):
        touch(server, name)
        assert client.read_response().text == name
    assert server.get("/hello").status == server.get("/one/hello").status == 200


def test_one_application_in_two_pools(nginx):
    """It is imported once, and a busy pool leaves the other alone."""
    server = serve(nginx, 'note("imported")\n', server="""
        location / { wsgi_threads slow; wsgi_pass app.py; }
        location /fast/ { wsgi_threads fast; wsgi_pass app.py; }
        """, http="wsgi_thread_pool slow threads=1; wsgi_thread_pool fast threads=1;")
    client = ask(server, "/wait?go")
    wait_notes(server, "wait")
    assert server.get("/fast/hello").body == b"hello"
    touch(server, "go")
    assert client.read_response().body == b"go"
    assert notes(server, "imported") == ["imported"]


def test_full_pools_say_their_name_only(nginx):
    server = serve(nginx, server="wsgi_threads p; location / { wsgi_pass app.py; }",
                   http="wsgi_thread_pool p threads=1 queue=0;")
    client = ask(server, "/wait?go")
    wait_notes(server, "wait")
    assert server.get("/hello").status == 503
    (line,) = server.wait_for_log("is full")
    assert re.search(r'wsgi: the queue of thread pool "p" is full \(1 threads?, 0 waiting\), 503', line), line
    touch(server, "go")
    assert client.read_response().body == b"go"
