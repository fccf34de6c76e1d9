"""wsgi_reload_mechanism process: after an edit the worker answers once more, by the old code, and is replaced."""

import re
import threading

import pytest

from harness.apps import PRELUDE, touch, wait_notes
from harness.edits import Watcher, edit, replace
from harness.nginx import alive, wait_for

HTTP = "wsgi_script_reloading on; wsgi_reload_mechanism process; wsgi_python_path %%FOLDER%%;"
EVERYTHING = "location / { wsgi_pass app.py; }"
SCRIPT = PRELUDE + '''
NUMBER = {number}


def application(environ, start_response):
    headers = list(PLAIN)
    if environ["QUERY_STRING"] == "refresh":
        headers.append(("Refresh", "5; url=/elsewhere"))
    start_response("200 OK", headers)
    return [b"%d %d" % (NUMBER, os.getpid())]


def at_stream(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"%d " % NUMBER
    note("streaming", NUMBER)
    while not there("go"):
        yield b""
    for _ in range(50):
        yield b"x" * 100000
    yield b" %d" % NUMBER
    note("streamed", NUMBER)
'''
NOTICE = r'\[notice\].*wsgi: script "{}" has changed, this worker quits gracefully to be replaced'


def script(number, more=""):
    return SCRIPT.format(number=number) + more


def site(nginx, server=EVERYTHING, http=HTTP, **more):
    return nginx(server, http=http, apps={"app.py": script(0), **more.pop("apps", {})}, **more)


def replaced(server, old):
    wait_for(lambda: server.workers() and old not in server.workers(), lambda: f"another worker\n{server.tail()}")
    wait_for(lambda: not alive(old), "the old worker is gone")


def test_one_more_answer_by_the_old_code(nginx, folder):
    server = site(nginx)
    old = server.worker
    answer = server.get("/")
    assert (answer.text, answer.header("Refresh")) == (f"0 {old}", None)
    edit(folder / "app.py", script(1))
    answer = server.get("/")
    assert (answer.text, answer.all("Refresh")) == (f"0 {old}", ["0"])
    answer = server.get("/")
    assert answer.header("Refresh") is None
    assert answer.text == f"1 {server.worker}" != f"1 {old}"
    replaced(server, old)
    (line,) = server.log_lines(NOTICE.format(re.escape(f"{folder}/app.py")))
    assert f" {old}#" in line


def test_edit_after_edit(nginx, folder):
    server = site(nginx)
    # With threads a request may come during the import, and an edit too.
    assert server.get("/").text.split()[0] == "0"
    seen = {server.worker}
    for each in range(1, 6):
        edit(folder / "app.py", script(each))
        assert server.get("/").text.split()[0] == str(each - 1)
        # A worker that has hardly begun to serve may have to wait until it may be replaced.
        answers = []
        wait_for(lambda: answers.append(server.get("/").text.split()) or answers[-1][0] == str(each),
                 lambda: f"{answers[-1]}, edit {each}")
        assert {number for number, _ in answers} <= {str(each - 1), str(each)}
        pid = int(answers[-1][1])
        assert pid not in seen
        seen.add(pid)


def test_nothing_happens_before_a_request_comes(nginx, folder):
    server = site(nginx, "location / { wsgi_pass app.py; } location /static { return 200 static; }")
    old = server.worker
    edit(folder / "app.py", script(1))
    for _ in range(5):
        assert server.get("/static").text == "static"
    assert server.worker == old
    assert server.get("/").header("Refresh") == "0"
    replaced(server, old)


def test_a_refresh_of_the_application_stays(nginx, folder):
    server = site(nginx)
    old = server.worker
    edit(folder / "app.py", script(1))
    answer = server.get("/?refresh")
    assert (answer.text, answer.all("Refresh")) == (f"0 {old}", ["5; url=/elsewhere"])
    assert server.get("/").text.startswith("1 ")


def test_post_and_head(nginx, folder):
    for method in ("POST", "HEAD"):
        server = site(nginx)
        edit(server.folder / "app.py", script(1))
        old = server.worker
        answer = server.request(method, "/", body=b"x" * 100000 if method == "POST" else None)
        assert (answer.status, answer.header("Refresh")) == (200, "0")
        replaced(server, old)
        assert server.get("/").text.startswith("1 ")


def test_an_open_connection_is_closed_after_the_answer(nginx, folder):
    server = site(nginx)
    with server.connect() as client:
        assert client.request("GET", "/").text.startswith("0 ")
        edit(folder / "app.py", script(1))
        assert client.request("GET", "/").text.startswith("0 ")
        assert client.closed()
    assert server.get("/").text.startswith("1 ")


def test_a_long_stream_is_finished_by_the_old_worker(nginx, folder):
    server = site(nginx, EVERYTHING + "location = /stream { wsgi_pass app.py:at_stream; }")
    old = server.worker
    client = server.connect()
    client.send_request("GET", "/stream")
    wait_notes(server, "streaming 0")
    edit(folder / "app.py", script(1))
    assert server.get("/").text.startswith("0 ")
    # nginx replaces a worker that has ended; this one cannot end yet.
    wait_for(lambda: server.log_lines(NOTICE.format(r"\S+")), server.tail)
    assert alive(old)
    touch(server, "go")
    body = client.read_response().body
    assert body == b"0 " + b"x" * 5_000_000 + b" 0"
    assert server.get("/").text.startswith("1 ")
    replaced(server, old)


def test_broken_new_code(nginx, folder):
    server = site(nginx)
    old = server.worker
    edit(folder / "app.py", "raise ValueError('broken by an edit')\n")
    assert server.get("/").text == f"0 {old}", "this request by the old code"
    assert server.get("/").status == 500
    replaced(server, old)
    server.wait_for_log(r'\[error\].*wsgi: cannot load application "\S+/app\.py": ValueError: broken by an edit')
    server.wait_for_log("wsgi: Traceback")
    edit(folder / "app.py", script(2))
    wait_for(lambda: server.get("/").text.startswith("2 "), "the mended code")


def test_each_worker_for_itself(nginx, folder):
    server = site(nginx, workers=2)
    old = set(server.workers())
    edit(folder / "app.py", script(1))

    def all_new():
        answer = server.get("/")
        assert answer.status == 200
        number, pid = answer.text.split()
        assert number == ("0" if int(pid) in old else "1")
        assert (answer.header("Refresh") == "0") == (int(pid) in old)
        return not old & set(server.workers()) and len(server.workers()) == 2
    wait_for(all_new, "two new workers")
    assert len(server.log_lines(NOTICE.format(r"\S+"))) == 2


def test_a_dotted_module_is_named_by_its_file(nginx, folder):
    server = site(nginx, "location / { wsgi_pass shop.wsgi; }", apps={"shop/__init__.py": "",
                                                                      "shop/wsgi.py": script(0)})
    old = server.worker
    edit(folder / "shop/wsgi.py", script(1))
    assert server.get("/").text == f"0 {old}"
    assert server.get("/").text.startswith("1 ")
    assert server.log_lines(NOTICE.format(re.escape(f"{folder}/shop/wsgi.py")))


def test_off(nginx, folder):
    server = site(nginx, http="wsgi_reload_mechanism process;")
    old = server.worker
    edit(folder / "app.py", script(1))
    for _ in range(3):
        answer = server.get("/")
        assert (answer.text, answer.header("Refresh")) == (f"0 {old}", None)


def test_inheritance(nginx, folder):
    """`module` for one location below a server with `process`."""
    server = site(nginx, """
        wsgi_reload_mechanism process;
        location / { wsgi_pass app.py; }
        location /module/ { wsgi_reload_mechanism module; wsgi_pass module.py; }
    """, http="wsgi_script_reloading on; wsgi_reload_mechanism module;", apps={"module.py": script(0)})
    old = server.worker
    edit(folder / "module.py", script(1))
    answer = server.get("/module/")
    assert (answer.text, answer.header("Refresh")) == (f"1 {old}", None)
    edit(folder / "app.py", script(1))
    answer = server.get("/")
    assert (answer.text, answer.header("Refresh")) == (f"0 {old}", "0")
    replaced(server, old)


def test_in_sub_interpreters(nginx, folder):
    server = site(nginx, "location / { wsgi_pass app.py; } location /2 { wsgi_pass two.py; }",
                  http=HTTP + "wsgi_enable_subinterpreters on;", apps={"two.py": script(0)})
    old = server.worker
    assert server.get("/2").text == f"0 {old}"
    edit(folder / "two.py", script(1))
    answer = server.get("/")
    assert (answer.text, answer.header("Refresh")) == (f"0 {old}", None)
    assert server.get("/2").text == f"0 {old}"
    replaced(server, old)
    assert server.get("/2").text == f"1 {server.worker}"


def test_atexit_of_the_old_worker(nginx, folder):
    more = "import atexit\natexit.register(note, 'ended', NUMBER)\n"
    server = site(nginx, apps={"app.py": script(0, more)})
    edit(folder / "app.py", script(1, more))
    assert server.get("/").status == 200
    wait_notes(server, "ended 0")


def test_http2(nginx, folder):
    server = site(nginx, h2c=True)
    client = server.h2()
    assert client.request("GET", "/").text.startswith("0 ")
    edit(folder / "app.py", script(1))
    answer = client.request("GET", "/")
    assert answer.text.startswith("0 ") and answer.header("Refresh") == "0"
    client.wait(lambda: client.goaway is not None, "GOAWAY")
    client.close()
    assert server.get("/").text.startswith("1 ")


WARNING = (r'\[warn\].*wsgi: "wsgi_reload_mechanism process" needs a master process, '
           r'scripts are reloaded as with "module"')


def test_in_a_single_process_it_warns_and_acts_as_module(nginx, folder):
    server = site(nginx, master=False)
    assert len([line for line in (server.output() + server.log()).splitlines() if re.search(WARNING, line)]) >= 1
    assert len(server.log_lines(WARNING)) <= 1
    edit(folder / "app.py", script(1))
    answer = server.get("/")
    assert (answer.text, answer.header("Refresh")) == (f"1 {server.pid}", None)


@pytest.mark.parametrize("master, http", [(True, HTTP), (False, "wsgi_script_reloading on;"),
                                          (False, "wsgi_reload_mechanism process;")])
def test_no_warning_without_a_reason(nginx, master, http):
    server = site(nginx, master=master, http=http + "wsgi_python_path %%FOLDER%%;" * ("path" not in http))
    assert server.get("/").status == 200
    assert not re.search(WARNING, server.output() + server.log())


@pytest.mark.slow
def test_fifty_edits_under_load(nginx, folder):
    """Not one failed request, and every edit is seen by the second request after it."""
    server = site(nginx, workers=1, connections=1024,
                  http=HTTP + "keepalive_requests 1000000; wsgi_block_warning off; access_log off;")
    stop, seen = threading.Event(), [0]
    watchers = [Watcher(server, stop, keep_alive, lambda: seen[0]) for keep_alive in (True, True, False)]
    for watcher in watchers:
        watcher.start()
    try:
        for each in range(1, 51):
            replace(folder / "app.py", script(each))

            def visible():
                answer = server.get("/")
                assert answer.status == 200, answer
                return int(answer.text.split()[0]) == each
            wait_for(visible, lambda: f"edit {each}\n{server.tail()}")
            # The one worker has been replaced: from now on nobody may see older code.
            seen[0] = each
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
    assert len(set.union(*(watcher.pids for watcher in watchers))) >= 51, "a new process for each edit"
    assert len(server.log_lines(NOTICE.format(r"\S+"))) == 50
