"""wsgi_script_reloading with threads: the request after an edit sees the new code, others finish with the old."""

import os
import threading

import pytest

from harness.apps import PRELUDE, notes, touch, wait_notes
from harness.edits import Watcher, edit, replace
from harness.nginx import wait_for
from harness.threads import ask

HTTP = "wsgi_script_reloading on; wsgi_threads 3;"
SCRIPT = PRELUDE + '''
NUMBER = {number}
note("import", NUMBER)


def application(environ, start_response):
    number = NUMBER
    if environ["QUERY_STRING"]:
        note("wait", number)
        block_until_there(environ["QUERY_STRING"])
    body = answer(start_response, b"%d %d" % (number, os.getpid()))
    if environ["PATH_INFO"] == "/stream":
        return Body(*body, lambda: note("late", NUMBER) or b"")
    return body
'''


def script(number, more=""):
    return SCRIPT.format(number=number) + more


def site(nginx, http=HTTP, server="location / { wsgi_pass app.py; } location /ok { return 200 ok; }", **more):
    return nginx(server, http=http, apps={"app.py": script(0), **more.pop("apps", {})}, **more)


def number(server, target="/"):
    answer = server.get(target)
    assert answer.status == 200, f"{answer}\n{server.tail()}"
    return int(answer.text.split()[0])


def test_every_edit_is_seen_at_once(nginx, folder):
    server = site(nginx)
    worker = server.worker
    assert number(server) == 0
    for each in range(1, 20):
        (edit if each % 2 else replace)(folder / "app.py", script(each))
        assert number(server) == each
    assert server.worker == worker
    assert notes(server) == [f"import {each}" for each in range(20)]


def test_running_requests_finish_with_the_old_code(nginx, folder):
    server = site(nginx)
    clients = [ask(server, "/?go"), ask(server, "/stream?go")]
    wait_notes(server, "wait 0", 2)
    edit(folder / "app.py", script(1))
    assert number(server) == 1
    touch(server, "go")
    assert [client.read_response().text.split()[0] for client in clients] == ["0", "0"]
    assert wait_notes(server, "late") == ["late 0"]
    assert number(server) == 1


def test_queued_requests_after_an_edit_see_it(nginx, folder):
    server = site(nginx, HTTP.replace("3", "1"))
    first = ask(server, "/?go")
    wait_notes(server, "wait 0")
    edit(folder / "app.py", script(1))
    queued = [ask(server, "/") for _ in range(3)]
    touch(server, "go")
    assert first.read_response().text.startswith("0 ")
    assert [client.read_response().text.split()[0] for client in queued] == ["1"] * 3
    assert notes(server, "import") == ["import 0", "import 1"]


def test_an_edit_that_fails_and_one_that_mends(nginx, folder):
    server = site(nginx)
    assert number(server) == 0
    edit(folder / "app.py", script(1, "raise ValueError('half written')\n"))
    assert server.get("/").status == 500
    server.wait_for_log(r'cannot load application "\S+/app\.py": ValueError: half written')
    assert server.get("/ok").status == 200
    edit(folder / "app.py", script(2))
    assert number(server) == 2


def test_requests_that_come_during_the_import_wait_for_it(nginx, folder):
    server = site(nginx)
    assert number(server) == 0
    edit(folder / "app.py", script(1, 'note("importing")\nblock_until_there("go")\n'))
    clients = [ask(server, "/") for _ in range(4)]
    wait_notes(server, "importing")
    assert server.get("/ok").status == 200
    touch(server, "go")
    assert [client.read_response().text.split()[0] for client in clients] == ["1"] * 4
    assert notes(server, "import 1") == ["import 1"]


@pytest.mark.parametrize("mechanism", ["module", "process"])
def test_under_load(nginx, folder, mechanism):
    server = site(nginx, HTTP + f"wsgi_reload_mechanism {mechanism};")
    stop, newest = threading.Event(), [0]
    # By process a request may be answered by the code that is on its way out.
    clients = [Watcher(server, stop, keep_alive, lambda: newest[0] if mechanism == "module" else 0)
               for keep_alive in (True, False, True, False)]
    for client in clients:
        client.start()
    for each in range(1, 6):
        replace(folder / "app.py", script(each))
        wait_for(lambda: number(server) == each, f"edit {each}")
        newest[0] = each
        done = sum(client.done for client in clients)
        wait_for(lambda: sum(client.done for client in clients) > done + 20, "more requests")
    stop.set()
    for client in clients:
        client.join(20)
    assert [client.failures for client in clients] == [[]] * 4
    assert set().union(*(client.seen for client in clients)) <= set(range(6))


def test_by_process_the_old_worker_finishes_what_runs(nginx, folder):
    server = site(nginx, HTTP + "wsgi_reload_mechanism process;")
    old = server.worker
    running = ask(server, "/?go")
    wait_notes(server, "wait 0")
    edit(folder / "app.py", script(1))
    answer = server.get("/")
    assert answer.status == 200
    assert (answer.text, answer.header("Refresh")) == (f"0 {old}", "0")
    # nginx starts the next worker when this one is gone, and it is waited for.
    assert os.path.exists(f"/proc/{old}")
    touch(server, "go")
    assert running.read_response().text == f"0 {old}"
    running.close()
    assert number(server) == 1
    assert not os.path.exists(f"/proc/{old}")
