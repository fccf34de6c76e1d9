"""wsgi_preflight on: a reload with a broken application is refused, and the old workers go on without a failure."""

import re
import threading

import pytest

from harness.apps import PRELUDE, touch, wait_notes
from harness.nginx import alive, wait_for
from harness.preflight import line_of, read
from test_reload_under_load import APP, Reader

HTTP = "wsgi_preflight on;"
EVERYTHING = "\nlocation / { wsgi_pass app.py; }\n"
REFUSED = r"\[emerg\].*wsgi: (cannot load|application|importing)"
WITH_NUMBER = PRELUDE + '''
NUMBER = {number}


def application(environ, start_response):
    return answer(start_response, b"%d %d" % (NUMBER, os.getpid()))
'''
BROKEN = {
    "import": ("1 / 0\n", 'cannot load application "%s": ZeroDivisionError: division by zero'),
    "syntax": ("def f(:\n", None),
    "callable": ("x = 1\n", None),
    "abort": ("import os\nos.abort()\n", 'importing application "%s" ended the process (signal 6)'),
    "timeout": ("import time\ntime.sleep(600)\n",
                'application "%s" was not imported within 1 s (wsgi_preflight_timeout)'),
}


def refused_reload(server):
    """HUP; returns what the log says of it, when nginx has decided."""
    since = server.log_size()
    server.signal("HUP")
    server.wait_for_log(REFUSED, since=since, timeout=20)
    return read(server, server.log()[since:])


@pytest.mark.parametrize("kind", BROKEN)
def test_the_old_workers_stay(nginx, folder, kind):
    text, said = BROKEN[kind]
    server = nginx(EVERYTHING, http=HTTP + "wsgi_preflight_timeout 1s;", allow=[r"\[emerg\].*wsgi: "], workers=2,
                   apps={"app.py": WITH_NUMBER.format(number=0)})
    workers = server.workers()
    (folder / "app.py").write_text(text)
    ((found, number),) = refused_reload(server)
    if said:
        assert found == said % (folder / "app.py")
    assert number == line_of(server, "wsgi_pass app.py")
    for _ in range(6):
        answer, pid = server.get("/").text.split()
        assert answer == "0" and int(pid) in workers
    assert server.workers() == workers
    (folder / "app.py").write_text(WITH_NUMBER.format(number=1))
    server.hup()
    assert server.get("/").text.startswith("1 ")
    assert not set(workers) & set(server.workers())


def test_the_traceback_is_in_the_log(nginx, folder):
    server = nginx(EVERYTHING, http=HTTP, allow=[r"\[emerg\].*wsgi: "], apps={"app.py": WITH_NUMBER.format(number=0)})
    (folder / "app.py").write_text("import json\njson.loads('{')\n")
    refused_reload(server)
    server.wait_for_log(r"\[emerg\].*wsgi: Traceback")
    server.wait_for_log(rf'\[emerg\].*wsgi:   File "{folder}/app\.py", line 2, in <module>')
    server.wait_for_log(r"\[emerg\].*wsgi: json.decoder.JSONDecodeError: ")


def test_a_new_location_with_a_broken_application(nginx, folder):
    server = nginx(EVERYTHING, http=HTTP, allow=[r"\[emerg\].*wsgi: "], apps={
        "app.py": WITH_NUMBER.format(number=0), "new.py": "1 / 0\n"})
    server.write_conf(server=EVERYTHING + "location /new {\n wsgi_pass new.py;\n}\n")
    ((text, number),) = refused_reload(server)
    assert "new.py" in text and number == line_of(server, "wsgi_pass new.py")
    assert server.get("/new").text.startswith("0 "), "the old configuration"


def test_what_the_running_workers_hold_does_not_matter(nginx, folder):
    """The child of a reload sees the files of now, whatever was imported before."""
    server = nginx("\nlocation / { wsgi_python_path %%FOLDER%%; wsgi_pass shop; }\n", http=HTTP,
                   allow=[r"\[emerg\].*wsgi: "], apps={"shop.py": "import helper\n" + WITH_NUMBER.format(number=0),
                                                      "helper.py": ""})
    (folder / "helper.py").unlink()
    for cached in folder.glob("__pycache__/helper*"):
        cached.unlink()
    ((text, _),) = refused_reload(server)
    assert "ModuleNotFoundError: No module named 'helper'" in text
    (folder / "helper.py").write_text("")
    server.hup()
    assert server.get("/").text.startswith("0 ")


def test_switching_it_on_by_a_reload(nginx, folder):
    server = nginx("\nlocation / { wsgi_pass app.py; }\nlocation /bad { wsgi_pass bad.py; }\n",
                   allow=[r"\[emerg\].*wsgi: "], apps={"app.py": WITH_NUMBER.format(number=0), "bad.py": "1 / 0\n"})
    workers = server.workers()
    assert server.get("/bad").status == 500
    server.write_conf(http=HTTP)
    ((text, _),) = refused_reload(server)
    assert "bad.py" in text and server.workers() == workers
    server.hup(http="")
    assert server.get("/").text.startswith("0 ") and server.get("/bad").status == 500


def test_the_old_workers_answer_while_the_child_imports(nginx, folder):
    server = nginx(EVERYTHING, http=HTTP, apps={"app.py": WITH_NUMBER.format(number=0)})
    old = server.worker
    (folder / "app.py").write_text(WITH_NUMBER.format(number=1) + "note('importing', os.getpid())\n"
                                   "block_until_there('go')\n")
    server.signal("HUP")
    wait_for(lambda: (folder / "notes").exists(), "the child imports")
    for _ in range(20):
        assert server.get("/").text == f"0 {old}"
    (folder / "go").touch()
    wait_for(lambda: server.get("/").text.startswith("1 "), "the new workers")
    wait_for(lambda: server.all_children() == server.workers() != [old], "old worker and child are gone")


BLOCKED = WITH_NUMBER.format(number=1) + "note('importing', os.getpid())\nblock_until_there('go')\n"


def importing(server):
    """The child of a reload, which waits in the middle of an import."""
    (server.folder / "app.py").write_text(BLOCKED)
    server.signal("HUP")
    return int(wait_notes(server, "importing")[0].split()[1])


def test_a_worker_that_dies_meanwhile(nginx, folder):
    server = nginx(EVERYTHING, http=HTTP, apps={"app.py": WITH_NUMBER.format(number=0)},
                   allow=["exited on signal 9"])
    child, old = importing(server), server.worker
    server.signal("KILL", old)
    touch(server, "go")
    wait_for(lambda: server.get("/").text.startswith("1 "), "the new code")
    wait_for(lambda: not alive(child) and server.all_children() == server.workers(), "nobody else is left")


def test_a_child_that_is_killed(nginx, folder):
    server = nginx(EVERYTHING, http=HTTP, apps={"app.py": WITH_NUMBER.format(number=0)},
                   allow=[r"\[emerg\].*wsgi: "])
    old, since = server.worker, server.log_size()
    server.signal("KILL", importing(server))
    server.wait_for_log(REFUSED, since=since)
    ((text, _),) = read(server, server.log()[since:])
    assert text == f'importing application "{folder}/app.py" ended the process (signal 9)'
    assert server.get("/").text == f"0 {old}"


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_an_end_meanwhile(nginx, folder, name):
    server = nginx(EVERYTHING, http=HTTP, apps={"app.py": WITH_NUMBER.format(number=0)})
    child = importing(server)
    server.signal(name)
    touch(server, "go")
    assert server.wait_exit() == 0
    wait_for(lambda: not alive(child), "the child is gone")


def test_another_reload_meanwhile(nginx, folder):
    server = nginx(EVERYTHING, http=HTTP, apps={"app.py": WITH_NUMBER.format(number=0)})
    importing(server)
    server.signal("HUP")
    (folder / "app.py").write_text(WITH_NUMBER.format(number=2))
    touch(server, "go")
    wait_for(lambda: server.get("/").text.startswith("2 "), "the newest code")
    wait_for(lambda: server.all_children() == server.workers(), "nobody else is left")


@pytest.mark.slow
def test_under_load_not_one_request_fails(nginx, folder):
    """HUP with a broken application, five times; then mend, HUP, new code."""
    server = nginx(EVERYTHING, apps={"app.py": APP}, workers=2, connections=1024, allow=[r"\[emerg\].*wsgi: "],
                   http=HTTP + "keepalive_requests 1000000; wsgi_block_warning off;")
    workers = server.workers()
    stop = threading.Event()
    clients = [Reader(server, stop, True, "/"), Reader(server, stop, True, "/stream"),
               Reader(server, stop, False, "/"), Reader(server, stop, False, "/post", b"y" * 30000)]
    for client in clients:
        client.start()

    def go_on():
        before = [client.done for client in clients]
        wait_for(lambda: all(client.done > was + 3 for client, was in zip(clients, before))
                 or any(client.failures for client in clients), "each client goes on", 20)
        assert not any(client.failures for client in clients), [client.failures for client in clients]
    try:
        for each in range(5):
            go_on()
            (folder / "app.py").write_text(f"raise ValueError('broken {each}')\n")
            ((text, _),) = refused_reload(server)
            assert f"ValueError: broken {each}" in text
            go_on()
            assert server.workers() == workers
        assert set.union(*(client.workers for client in clients)) <= set(workers)
        (folder / "app.py").write_text(APP.replace('f"{length} {os.getpid()}"', 'f"{length} {os.getpid()} new"')
                                       .replace("import os", "import os\nNEW = True"))
        for client in clients:
            client.check = lambda answer, begun, client=client: new_check(client, answer)
        server.hup(timeout=30)
        go_on()
    finally:
        stop.set()
        for client in clients:
            client.join(30)
    assert [client.failures for client in clients] == [[], [], [], []]
    assert server.get("/").text.endswith(" new")
    assert not set(workers) & set(server.workers())
    assert len(re.findall(REFUSED, server.log())) == 5


def new_check(client, answer):
    """Old and new workers answer while a reload goes on."""
    if client.target == "/stream":
        assert len(answer.body) == 400000
    else:
        assert int(answer.text.split()[0]) == len(client.body or b"")
