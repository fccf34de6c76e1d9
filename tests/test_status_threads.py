"""wsgi_status where threads run the applications: threads, queue, states, and stacks of the same worker."""

from harness.apps import serve, touch, wait_notes
from harness.nginx import wait_for
from harness.status import LOCATION, at_rest, status, total, wait_requests

APP = """
def at_hello(environ, start_response):
    return answer(start_response, b"hello")

def at_block(environ, start_response):
    note("blocked")
    block_until_there("go")
    return answer(start_response, b"done")

def at_raise(environ, start_response):
    raise ValueError("planned")

def at_stream(environ, start_response):
    start_response("200 OK", PLAIN)
    note("stream")
    while not there("go"):
        yield b"x" * 600000
"""


def server_of(threads):
    return "location / { wsgi_threads %s; wsgi_pass app.py; }" % threads + LOCATION


def ask(server, *targets):
    clients = [server.connect() for _ in targets]
    for client, target in zip(clients, targets):
        client.send_request("GET", target)
    return clients


def test_busy_queued_and_rejected(nginx):
    server = serve(nginx, APP, server_of("2 queue=3"))
    clients = ask(server, "/block/1", "/block/2")
    wait_notes(server, "blocked", 2)
    clients += ask(server, "/block/3", "/block/4", "/block/5")
    wait_requests(server, 3, "queued")
    assert server.get("/hello").status == 503
    numbers = total(server)
    assert (numbers["threads"], numbers["busy_threads"], numbers["queued"], numbers["in_flight"]) == (2, 2, 3, 5)
    assert numbers["rejected"] == {"queue_full": 1, "queue_timeout": 0}
    assert "2 of 2" in server.get("/status").text
    # One that leaves the queue before its turn was never run.
    clients.pop().close()
    wait_requests(server, 2, "queued")
    touch(server, "go")
    for client in clients:
        assert client.read_response().body == b"done"
    at_rest(server)
    numbers = total(server)
    assert (numbers["requests"], numbers["busy_threads"], numbers["queued"]) == (6, 0, 0)
    assert numbers["run_time"]["count"] == numbers["queue_time"]["count"] == 4


def test_queue_timeout(nginx):
    server = serve(nginx, APP, "wsgi_queue_timeout 100ms;" + server_of(1))
    (client,) = ask(server, "/block/")
    wait_notes(server, "blocked")
    assert server.get("/hello").status == 503
    assert total(server)["rejected"] == {"queue_full": 0, "queue_timeout": 1}
    assert total(server)["queued"] == 0
    touch(server, "go")
    assert client.read_response().body == b"done"


def test_stacks(nginx):
    """Each thread's own."""
    server = serve(nginx, APP, server_of("3"))
    clients = ask(server, "/block/1", "/block/2")
    wait_notes(server, "blocked", 2)
    requests = status(server, "&stacks=1")["requests"]
    assert {request["target"] for request in requests} == {"/block/1", "/block/2"}
    assert all("in at_block" in request["stack"] for request in requests)
    threads = {(request["thread"]["number"], request["thread"]["name"]) for request in requests}
    assert len(threads) == 2 and threads <= {(number, f"wsgi-{number}") for number in (1, 2, 3)}
    touch(server, "go")
    for client in clients:
        client.read_response()


def test_waiting_for_a_client_is_not_run_time(nginx):
    server = serve(nginx, APP, server_of(1))
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/stream")
    (request,) = wait_requests(server, state="sending")
    assert request["thread"]["number"] == 1
    wait_for(lambda: status(server)["requests"][0]["age"] > 0.5, "it waits")
    client.close()
    at_rest(server)
    run = total(server)["run_time"]
    assert run["count"] == 1 and run["seconds"] < 0.4


def test_errors(nginx):
    server = serve(nginx, APP, server_of(2))
    for target in ("/raise", "/hello", "/raise"):
        server.get(target)
    at_rest(server)
    assert (total(server)["requests"], total(server)["errors"]) == (3, 2)
