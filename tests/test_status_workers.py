"""wsgi_status over several workers: one table for all, which outlives workers and configurations."""

import os
import signal
import threading

import pytest

from harness.apps import PRELUDE, serve, touch, wait_notes
from harness.edits import edit
from harness.nginx import alive, wait_for
from harness.status import LOCATION, app, at_rest, pids, status, total, wait_requests

pytestmark = pytest.mark.once

APP = """
def at_hello(environ, start_response):
    return answer(start_response, b"hello")

def at_pid(environ, start_response):
    return answer(start_response, os.getpid())

def at_block(environ, start_response):
    note("blocked")
    block_until_there("go")
    return answer(start_response, b"done")

def at_stream(environ, start_response):
    start_response("200 OK", PLAIN)
    note("stream")
    while not there("go"):
        yield b"x" * 60000
"""
SERVER = "wsgi_block_warning off; location / { wsgi_pass app.py; }" + LOCATION


def ask(server, count, target="/hello"):
    for _ in range(count):
        assert server.get(target).status == 200
    at_rest(server)


def reload(nginx, **parts):
    """HUP while an old worker is blocked, so that it does not hear of it; returns the old ones."""
    old = set(nginx.workers())
    nginx.write_conf(**parts)
    nginx.signal("HUP")
    wait_for(lambda: len(set(nginx.workers()) - old) == nginx.workers_wanted, "new workers")
    return old


def test_any_worker_answers_for_all(nginx):
    server = serve(nginx, APP, SERVER, workers=4)
    threads = [threading.Thread(target=ask, args=(server, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = status(server)
    (shown,) = found["applications"]
    assert [worker["worker"] for worker in shown["workers"]] == [0, 1, 2, 3]
    assert shown["total"]["requests"] == sum(worker["requests"] for worker in shown["workers"]) == 200
    assert shown["total"]["run_time"]["count"] == 200
    assert [worker["worker"] for worker in found["workers"]] == [0, 1, 2, 3]
    assert pids(server) == sorted(server.workers())


def test_counters_survive_a_reload(nginx):
    server = serve(nginx, APP, SERVER, workers=2)
    ask(server, 5)
    for count in (5, 6, 7):
        assert total(server)["requests"] == count
        assert total(server)["run_time"]["count"] == count
        server.hup()
        ask(server, 1)
    assert pids(server) == sorted(server.workers())


def test_a_reload_with_more_applications(nginx):
    """At first there is room for them, then not."""
    server = serve(nginx, APP, SERVER, workers=2, apps={f"app{n}.py": PRELUDE + APP for n in range(40)})
    ask(server, 3)
    for count in (2, 40, 1):
        more = "".join(f"location /{n}/ {{ rewrite ^/\\d+(.*) $1 break; wsgi_pass app{n}.py; }}" for n in range(count))
        server.hup(server=SERVER + more)
        ask(server, 1)
        ask(server, 2, "/0/hello")
        apps = status(server)["applications"]
        assert len(apps) == count + 1
    assert total(server, "/app.py")["requests"] == 6
    assert total(server, "/app0.py")["requests"] == 6


def test_a_reload_with_other_numbers_of_workers(nginx):
    server = serve(nginx, APP, SERVER, workers=4)
    threads = [threading.Thread(target=ask, args=(server, 20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for workers in (1, 20, 2):
        server.workers_wanted = workers
        server.hup(server=SERVER)
        # What a worker has counted that there is no more still belongs to the sum.
        assert total(server)["requests"] == 80
        assert pids(server) == sorted(server.workers())
        numbers = {worker["worker"] for worker in app(server)["workers"]}
        assert numbers >= set(range(workers))


def test_a_refused_configuration_changes_nothing(nginx):
    server = serve(nginx, APP, SERVER, workers=2, apps={f"app{n}.py": PRELUDE + APP for n in range(40)})
    server.allow(r"\[emerg\].*nonexistent")
    ask(server, 3)
    old = set(server.workers())
    more = "".join(f"location /{n}/ {{ wsgi_pass app{n}.py; }}" for n in range(40))
    for text in (more, ""):
        since = server.log_size()
        # Found only after the zones have been made.
        server.write_conf(server=SERVER + text, http="server { listen unix:/nonexistent/folder/socket; }")
        server.signal("HUP")
        server.wait_for_log(r"\[emerg\].*nonexistent", since=since)
        ask(server, 1)
    assert set(server.workers()) == old
    assert total(server, "/app.py")["requests"] == 5
    server.hup(server=SERVER, http="")
    ask(server, 1)
    assert total(server, "/app.py")["requests"] == 6


def test_switched_on_and_off_by_reloads(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass app.py; }", workers=2)
    server.get("/hello")
    server.hup(server=SERVER)
    ask(server, 2)
    assert total(server)["requests"] == 2
    server.hup(server="location / { wsgi_pass app.py; }")
    server.get("/hello")
    server.hup(server=SERVER)
    assert total(server)["requests"] == 0


def test_an_old_worker_is_seen_until_it_ends(nginx):
    server = serve(nginx, APP, SERVER, workers=2)
    client = server.connect()
    client.send_request("GET", "/block")
    wait_notes(server, "blocked")
    (request,) = wait_requests(server)
    old = reload(server)
    # It cannot hear of the reload before its request ends, and its stack can be seen all the same.
    (seen,) = status(server, "&stacks=1")["requests"]
    assert seen["pid"] == request["pid"] in old
    assert "at_block" in seen["stack"]
    assert total(server)["in_flight"] == 1
    touch(server, "go")
    assert client.read_response().body == b"done"
    at_rest(server)
    wait_for(lambda: pids(server) == sorted(server.workers()), "only the new ones")
    assert (total(server)["requests"], total(server)["in_flight"]) == (1, 0)


def test_an_application_that_is_configured_no_more(nginx):
    """It is shown as long as an old worker runs it."""
    server = serve(nginx, APP, SERVER, workers=2, apps={"other.py": PRELUDE + APP})
    client = server.connect()
    client.send_request("GET", "/block")
    wait_notes(server, "blocked")
    reload(server, server="location / { wsgi_pass other.py; }" + LOCATION)
    assert total(server, "/app.py")["in_flight"] == 1
    touch(server, "go")
    client.read_response()
    wait_for(lambda: [app["application"] for app in status(server)["applications"]] == [f"{server.folder}/other.py"],
             "the old application is gone")


def test_a_killed_worker_leaves_no_ghost(nginx):
    server = serve(nginx, APP, SERVER, workers=4, check_connections=False)
    server.allow(r"\[alert\].*exited on signal 9")
    for count in range(1, 6):
        client = server.connect()
        client.send_request("GET", "/block")
        # Before another connection, which this worker might take too.
        wait_notes(server, "blocked", count)
        (request,) = wait_requests(server)
        os.kill(request["pid"], signal.SIGKILL)
        wait_for(lambda pid=request["pid"]: not alive(pid) and len(server.workers()) == 4, "another worker")
        assert client.closed()
        found = status(server, "&stacks=1")
        assert found["requests"] == [] and total(server)["in_flight"] == 0
        assert pids(server) == sorted(server.workers())
    # The counters are those of its place among the workers.
    assert total(server)["requests"] == 5
    assert total(server)["run_time"]["count"] == 0


def test_slots_are_used_again(nginx):
    """More processes than there are slots, one after the other."""
    server = serve(nginx, APP, SERVER, workers=2)
    for _ in range(12):
        server.hup()
    ask(server, 3)
    assert pids(server) == sorted(server.workers())
    assert total(server)["requests"] == 3
    assert not server.log_lines("has no room for this one")


def test_replaced_by_wsgi_reload_mechanism(nginx):
    server = serve(nginx, APP, "wsgi_script_reloading on; wsgi_reload_mechanism process;" + SERVER)
    for count in (1, 2):
        old = server.worker
        edit(server.folder / "app.py", PRELUDE + APP + f"\n# {count}\n")
        ask(server, 1)
        wait_for(lambda old=old: not alive(old) and server.workers(), "another worker")
        (worker,) = status(server)["workers"]
        assert worker["replaced"] == {"max_requests": 0, "max_memory": 0, "timeout": 0, "reload": count}


def test_states(nginx):
    server = serve(nginx, APP, SERVER, workers=2)
    upload = server.connect()
    upload.send(b"POST /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12")
    (request,) = wait_requests(server, state="reading")
    assert (request["method"], request["thread"]) == ("POST", None)
    upload.send(b"345")
    assert upload.read_response().body == b"hello"
    stream = server.connect(rcvbuf=4096)
    stream.send_request("GET", "/stream")
    (request,) = wait_requests(server, state="sending")
    assert request["target"] == "/stream"
    assert total(server)["in_flight"] == 1
    stream.close()
    wait_for(lambda: not status(server)["requests"], "the request has ended")


def test_more_requests_than_the_list_takes(nginx):
    server = serve(nginx, APP, SERVER, connections=1024)
    clients = [server.connect() for _ in range(300)]
    for client in clients:
        client.send(b"POST /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12")
    wait_for(lambda: total(server)["in_flight"] == 300, "all have come")
    found = status(server)
    assert (len(found["requests"]), found["requests_not_listed"]) == (256, 44)
    assert "and 44 more" in server.get("/status").text
    for client in clients:
        client.send(b"345")
        assert client.read_response().body == b"hello"
    assert status(server)["requests_not_listed"] == total(server)["in_flight"] == 0


def test_a_single_process(nginx):
    server = serve(nginx, APP, SERVER, master=False)
    ask(server, 2)
    assert total(server)["requests"] == 2
    assert pids(server) == [server.worker]
    assert status(server, "&stacks=1")["workers"][0]["processes"][0]["has_answered"] is True


@pytest.mark.parametrize("begins_with", [SERVER, "location / { wsgi_pass app.py; }"], ids=["status", "nothing"])
def test_reloads_of_a_single_process(nginx, begins_with):
    """nginx accepts no connection any more after HUP in this mode; those that it has go on as they were."""
    server = serve(nginx, APP, begins_with, master=False, apps={f"app{n}.py": PRELUDE + APP for n in range(40)})
    more = "".join(f"location /{n}/ {{ wsgi_pass app{n}.py; }}" for n in range(40))
    with server.connect() as client:
        for text in (SERVER, SERVER + more, SERVER):
            assert client.request("GET", "/hello").body == b"hello"
            since = server.log_size()
            server.write_conf(server=text)
            server.signal("HUP")
            server.wait_for_log("reconfiguring", since=since)
        for _ in range(3):
            assert client.request("GET", "/hello").body == b"hello"
        if begins_with == SERVER:
            found = client.request("GET", "/status?format=json&stacks=1").json()
            (shown,) = [app for app in found["applications"] if app["application"].endswith("/app.py")]
            # The old configuration goes on counting in its own table when the new one has had to get a larger one.
            assert shown["total"]["requests"] in (2, 6)
    server.clients.remove(client)
