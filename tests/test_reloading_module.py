"""wsgi_script_reloading on: the request after an edit sees the new code, in the same process."""

import collections
import os
import threading
import time

import pytest

from harness.apps import PRELUDE, notes, touch, wait_notes
from harness.edits import Watcher, edit, replace
from harness.nginx import wait_for

pytestmark = pytest.mark.once

HTTP = "wsgi_script_reloading on; wsgi_python_path %%FOLDER%%;"
EVERYTHING = "location / { wsgi_pass app.py; }"
SCRIPT = PRELUDE + '''
NUMBER = {number}
note("import", NUMBER)


def application(environ, start_response):
    return answer(start_response, b"%d %d" % (NUMBER, os.getpid()))
'''
CANNOT = r'\[error\].*wsgi: cannot load application "\S+/app\.py": '


def script(number, more=""):
    return SCRIPT.format(number=number) + more


def site(nginx, server=EVERYTHING, http=HTTP, **more):
    return nginx(server, http=http, apps={"app.py": script(0), **more.pop("apps", {})}, **more)


def number(server, target="/"):
    answer = server.get(target)
    assert answer.status == 200, f"{answer}\n{server.tail()}"
    return int(answer.text.split()[0])


def test_every_edit_is_seen_at_once(nginx, folder):
    server = site(nginx)
    worker = server.worker
    assert number(server) == 0
    for each in range(1, 30):
        edit(folder / "app.py", script(each))
        assert number(server) == each
    assert server.worker == worker
    assert notes(server) == [f"import {each}" for each in range(30)]


def test_on_an_open_connection(nginx, folder):
    server = site(nginx)
    with server.connect() as client:
        for each in range(1, 10):
            edit(folder / "app.py", script(each))
            assert client.request("GET", "/").text == f"{each} {server.worker}"


def test_without_an_edit_nothing_is_imported(nginx):
    server = site(nginx)
    for _ in range(20):
        assert number(server) == 0
    assert notes(server) == ["import 0"]


def test_the_same_size_within_the_same_second(nginx, folder):
    """What a bytecode cache would take for the same file: it knows seconds and the size."""
    server = site(nginx)
    for each in range(1, 10):
        edit(folder / "app.py", script(each))
        assert number(server) == each


def test_the_same_size_within_the_same_second_of_a_module(nginx, folder):
    server = site(nginx, "location / { wsgi_pass shop.wsgi; }", apps={"shop/__init__.py": "",
                                                                      "shop/wsgi.py": script(0)})
    for each in range(1, 10):
        edit(folder / "shop/wsgi.py", script(each))
        assert number(server) == each


def test_replaced_by_a_rename(nginx, folder):
    server = site(nginx)
    for each in range(1, 10):
        replace(folder / "app.py", script(each))
        assert number(server) == each


def test_an_older_time_is_a_change_too(nginx, folder):
    """As when a backup is put back with its time."""
    server = site(nginx)
    replace(folder / "app.py.new", script(1))
    os.utime(folder / "app.py.new", (1000000000, 1000000000))
    os.replace(folder / "app.py.new", folder / "app.py")
    assert number(server) == 1


def test_a_link_that_points_elsewhere(nginx, folder):
    """As deployments do it that keep every release."""
    server = site(nginx, "location / { wsgi_pass current/app.py; }", start=False, apps={
        f"release{each}/app.py": script(each) for each in range(3)})
    (folder / "current").symlink_to("release0")
    server.start()
    for each in range(3):
        (folder / "next").symlink_to(f"release{each}")
        os.replace(folder / "next", folder / "current")
        assert number(server) == each


def test_removed_and_put_back(nginx, folder):
    server = site(nginx)
    (folder / "app.py").unlink()
    assert server.get("/").status in (200, 500)
    edit(folder / "app.py", script(1))
    assert number(server) == 1


def test_broken_and_mended(nginx, folder):
    server = site(nginx)
    edit(folder / "app.py", script(1, "raise ValueError('broken by an edit')\n"))
    answer = server.get("/")
    assert answer.status == 500 and "broken" not in answer.text
    server.wait_for_log(CANNOT + "ValueError: broken by an edit")
    server.wait_for_log(r'wsgi:   File "\S+/app\.py", line \d+, in <module>')
    edit(folder / "app.py", script(2))
    assert number(server) == 2


@pytest.mark.parametrize("text", ["def f(:\n", "raise SystemExit\n", "application = None\n", "x = 1\n", "",
                                  "import nothing_like_this\n"])
def test_ways_to_be_broken(nginx, folder, text):
    server = site(nginx)
    worker = server.worker
    edit(folder / "app.py", text)
    assert server.get("/").status == 500
    assert len(server.log_lines(CANNOT)) == 1
    edit(folder / "app.py", script(2))
    assert number(server) == 2
    assert server.worker == worker


def test_the_traceback_comes_once_for_each_edit(nginx, folder):
    server = site(nginx)
    edit(folder / "app.py", "import nothing_like_this\n")
    deadline, requests = time.monotonic() + 1.5, 0
    while time.monotonic() < deadline:
        assert server.get("/").status == 500
        requests += 1
    assert requests > 20
    assert len(server.log_lines(CANNOT)) == 1
    assert len(server.log_lines("wsgi: Traceback")) == 1
    assert server.log_lines(r'wsgi: application "\S+/app\.py" is not loaded \(ModuleNotFoundError: ')
    edit(folder / "app.py", "import nothing_like_this_either\n")
    assert server.get("/").status == 500
    assert len(server.log_lines(CANNOT)) == 2


def test_broken_from_the_start(nginx, folder):
    server = site(nginx, apps={"app.py": "raise ValueError('broken')\n"})
    assert server.get("/").status == 500
    edit(folder / "app.py", script(1))
    assert number(server) == 1
    edit(folder / "app.py", script(2))
    assert number(server) == 2


def test_a_dotted_module(nginx, folder):
    server = site(nginx, "location / { wsgi_pass shop.web:application; }", apps={
        "shop/__init__.py": PRELUDE + "note('import package')\n",
        "shop/web.py": script(0, "from . import helper\nnote(__name__, helper.NAME)\n"),
        "shop/helper.py": PRELUDE + "NAME = 'first'\nnote('import helper')\n"})
    assert number(server) == 0
    for each in (1, 2):
        text = script(each, "from . import helper\nimport shop.web\nnote(__name__, helper.NAME)\n")
        edit(folder / "shop/web.py", text)
        assert number(server) == each
    found = (folder / "shop/notes").read_text().splitlines()
    assert found.count("import package") == found.count("import helper") == 1
    assert found.count("shop.web first") == 3


def test_a_package_as_the_application(nginx, folder):
    server = site(nginx, "location / { wsgi_pass shop; }", apps={"shop/__init__.py": script(0)})
    edit(folder / "shop/__init__.py", script(1))
    assert number(server) == 1


def test_sys_modules_holds_the_new_module(nginx, folder):
    more = "import pickle\nclass Thing: pass\npickle.loads(pickle.dumps(Thing()))\n" \
           "note(sys.modules[__name__].NUMBER)\n"
    server = site(nginx, "location / { wsgi_pass shop; } location /script/ { wsgi_pass app.py; }",
                  apps={"shop.py": script(0, more)})
    for path, target in (("shop.py", "/"), ("app.py", "/script/")):
        edit(folder / path, script(7, more.replace("note(", "note('modules', ")))
        assert number(server, target) == 7
    assert notes(server, "modules") == ["modules 7"] * 2


def test_what_it_imports_is_not_imported_again(nginx, folder):
    more = "import helper\nnote('helper is', helper.NAME)\n"
    server = site(nginx, apps={"app.py": script(0, more), "helper.py": "NAME = 'old'\n"})
    edit(folder / "helper.py", "NAME = 'new'\n")
    assert number(server) == 0
    assert notes(server, "import") == ["import 0"], "only the file of the application is looked at"
    edit(folder / "app.py", script(1, more))
    assert number(server) == 1
    assert notes(server, "helper") == ["helper is old"] * 2


def test_a_running_generator_keeps_its_code(nginx, folder):
    text = PRELUDE + '''
NUMBER = {number}


def block():
    return b"%d " % NUMBER


def application(environ, start_response):
    start_response("200 OK", PLAIN)
    yield block()
    if environ["QUERY_STRING"]:
        note("waiting", NUMBER)
        while not there("go"):
            yield b""
    yield block()
    note("done", NUMBER)
'''
    server = site(nginx, apps={"app.py": text.format(number=0)})
    clients = []
    for each in range(3):
        client = server.connect()
        client.send_request("GET", "/?wait")
        wait_notes(server, f"waiting {each}")
        clients.append(client)
        edit(folder / "app.py", text.format(number=each + 1))
        assert server.get("/").text == f"{each + 1} {each + 1} "
    touch(server, "go")
    assert [client.read_response().text for client in clients] == ["0 0 ", "1 1 ", "2 2 "]


def test_two_callables_of_one_script(nginx, folder):
    more = "def other(environ, start_response):\n    return application(environ, start_response)\n"
    server = site(nginx, "location / { wsgi_pass app.py; } location /2 { wsgi_pass app.py:other; }"
                  "location /3 { wsgi_pass %%FOLDER%%/app.py other; }", apps={"app.py": script(0, more)})
    targets = ["/", "/2", "/3"]
    for each in range(1, 4):
        edit(folder / "app.py", script(each, more))
        # Another one asks first each time.
        targets.append(targets.pop(0))
        assert [number(server, target) for target in targets] == [each] * 3
    assert notes(server) == [f"import {each}" for each in range(4)], "executed once for each edit"


def test_a_callable_that_vanished_leaves_the_other(nginx, folder):
    more = "def other(environ, start_response):\n    return application(environ, start_response)\n"
    server = site(nginx, "location / { wsgi_pass app.py; } location /2 { wsgi_pass app.py:other; }",
                  apps={"app.py": script(0, more)})
    edit(folder / "app.py", script(1))
    assert server.get("/2").status == 500
    assert number(server) == 1
    edit(folder / "app.py", script(2, more))
    assert (number(server), number(server, "/2")) == (2, 2)


def test_middleware_is_applied_anew(nginx, folder):
    server = site(nginx, "location / { wsgi_middleware marks; wsgi_pass app.py; }", apps={"marks.py": PRELUDE + '''
note("import marks")


def middleware(app):
    note("wrap", app.__globals__["NUMBER"])
    return app
'''})
    for each in (1, 2):
        edit(folder / "app.py", script(each))
        assert number(server) == each
    assert notes(server, "wrap") == ["wrap 0", "wrap 1", "wrap 2"]
    assert notes(server, "import marks") == ["import marks"]


def test_a_factory_is_called_anew(nginx, folder):
    more = "def create_app():\n    note('factory', NUMBER)\n    return application\n"
    server = site(nginx, "location / { wsgi_pass app.py:create_app(); }", apps={"app.py": script(0, more)})
    for each in (1, 2):
        edit(folder / "app.py", script(each, more))
        assert [number(server), number(server)] == [each, each]
    assert notes(server, "factory") == ["factory 0", "factory 1", "factory 2"]


def test_a_factory_that_raises(nginx, folder):
    more = "def create_app():\n    {}\n    return application\n"
    server = site(nginx, "location / { wsgi_pass app.py:create_app(); }", apps={
        "app.py": script(0, more.format("pass"))})
    edit(folder / "app.py", script(1, more.format("raise ValueError('in the factory')")))
    assert server.get("/").status == 500
    server.wait_for_log("ValueError: in the factory")
    edit(folder / "app.py", script(2, more.format("pass")))
    assert number(server) == 2


def test_off_is_the_default(nginx, folder):
    server = site(nginx, http="wsgi_reload_mechanism module;")
    edit(folder / "app.py", script(1))
    assert number(server) == 0
    server.hup()
    assert number(server) == 1


def test_inheritance(nginx, folder):
    server = site(nginx, """
        wsgi_script_reloading off;
        location / { wsgi_script_reloading on; wsgi_pass app.py; }
        location /off/ { wsgi_pass off.py; }
        location /outer/ { wsgi_script_reloading on; location /outer/in/ { wsgi_pass in.py; } }
    """, apps={"off.py": script(0), "in.py": script(0)})
    for name in ("app.py", "off.py", "in.py"):
        edit(folder / name, script(1))
    assert [number(server, target) for target in ("/", "/off/", "/outer/in/")] == [1, 0, 1]


def test_where_it_is_off_nobody_looks_at_the_file(nginx, folder):
    """One script, looked at by requests of one location only."""
    server = site(nginx, """
        location / { wsgi_pass app.py; }
        location /off/ { wsgi_script_reloading off; wsgi_pass app.py; }
    """)
    edit(folder / "app.py", script(1))
    assert number(server, "/off/") == 0
    assert number(server) == 1


def test_each_worker_sees_it(nginx, folder):
    server = site(nginx, workers=2)
    workers = set(server.workers())
    edit(folder / "app.py", script(1))
    seen = set()

    def asked():
        answer = server.get("/")
        assert answer.text.split()[0] == "1"
        seen.add(int(answer.text.split()[1]))
        return seen == workers
    wait_for(asked, "an answer of each worker")


def test_in_sub_interpreters(nginx, folder):
    server = site(nginx, """
        location / { wsgi_pass app.py; }
        location /2 { wsgi_pass two.py; }
        location /main/ { wsgi_use_main_interpreter on; wsgi_pass app.py; }
    """, http=HTTP + "wsgi_enable_subinterpreters on;", apps={"two.py": script(0)})
    for each in (1, 2):
        edit(folder / "app.py", script(each))
        assert [number(server, target) for target in ("/2", "/", "/main/")] == [0, each, each]
    # The script runs once in each of its two interpreters.
    assert sorted(notes(server)) == ["import 0"] * 3 + ["import 1"] * 2 + ["import 2"] * 2


def test_in_a_single_process(nginx, folder):
    server = site(nginx, master=False)
    edit(folder / "app.py", script(1))
    assert server.get("/").text == f"1 {server.pid}"


def test_old_modules_are_given_up(nginx, folder):
    """A hundred edits of a script that holds a megabyte leave one behind."""
    more = '''
import gc
import weakref

DATA = bytearray(1 << 20)


class Mark:
    pass


MARK = Mark()
sys.marks = [*getattr(sys, "marks", ()), weakref.ref(MARK)]


def application(environ, start_response):
    gc.collect()
    alive = sum(mark() is not None for mark in sys.marks)
    return answer(start_response, b"%d %d %d" % (NUMBER, len(sys.marks), alive))
'''
    server = site(nginx, apps={"app.py": script(0, more)}, http=HTTP + "wsgi_block_warning off;")
    for each in range(1, 101):
        replace(folder / "app.py", script(each, more))
        answer = server.get("/").text.split()
        assert answer[:2] == [str(each), str(each + 1)]
    assert int(answer[2]) <= 2


def test_while_the_body_of_a_request_arrives(nginx, folder):
    """What counts is the file when the application is called, not when the request began."""
    server = site(nginx)
    client = server.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    edit(folder / "app.py", script(1))
    client.send(b"67890")
    assert client.read_response().text.startswith("1 ")


@pytest.mark.slow
def test_fifty_edits_under_load(nginx, folder):
    """Not one failed request, and every edit is seen by the first request after it."""
    server = site(nginx, workers=2, http=HTTP + "keepalive_requests 1000000; wsgi_block_warning off; access_log off;")
    stop, current = threading.Event(), [0]
    watchers = [Watcher(server, stop, keep_alive, lambda: current[0]) for keep_alive in (True, True, False)]
    for watcher in watchers:
        watcher.start()
    try:
        for each in range(1, 51):
            replace(folder / "app.py", script(each))
            current[0] = each
            assert number(server) == each
            # The first answer after this may be to a request from before.
            before = [watcher.done for watcher in watchers]
            wait_for(lambda: all(watcher.done > was + 1 for watcher, was in zip(watchers, before))
                     or any(watcher.failures for watcher in watchers), "each client goes on")
            assert not any(watcher.failures for watcher in watchers), [watcher.failures for watcher in watchers]
    finally:
        stop.set()
        for watcher in watchers:
            watcher.join(30)
    assert [watcher.failures for watcher in watchers] == [[], [], []]
    assert set.union(*(watcher.seen for watcher in watchers)) >= set(range(1, 51))
    assert set.union(*(watcher.pids for watcher in watchers)) <= set(server.workers()), "the same processes all along"
    imports = collections.Counter(notes(server))
    # A worker that looks just before an edit and reads just after it reads once more.
    assert sum(imports.values()) <= 2 * 51, "once for each edit in each worker"
    assert not server.log_lines("wsgi: cannot load")


def test_a_package_keeps_its_submodules(nginx, folder):
    """They are not imported again, and so nobody else would put them into the new package."""
    (folder / "shop").mkdir()
    (folder / "shop" / "models.py").write_text("NAME = 'models'\n")
    text = PRELUDE + """
import shop.models


def application(environ, start_response):
    return answer(start_response, b"%d " % NUMBER + shop.models.NAME.encode())


NUMBER = """
    (folder / "shop" / "__init__.py").write_text(text + "0\n")
    server = nginx("location / { wsgi_pass shop; }", http=HTTP)
    for each in range(1, 4):
        edit(folder / "shop" / "__init__.py", text + f"{each}\n")
        assert server.get("/").text == f"{each} models"
