"""contextvars, threads and the GIL across a suspension."""

import pytest

from harness.apps import wait_notes
from harness.waiting import resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    import contextvars

    var = contextvars.ContextVar("var", default="unset")

    def at_var(environ, start_response):
        name = environ["QUERY_STRING"]
        before = var.get()
        var.set(name)
        start_response("200 OK", PLAIN)
        def blocks():
            try:
                in_call = var.get()
                var.set(name + " in the iterator")
                yield from waiting(environ, name)
                yield json.dumps([before, in_call, var.get()]).encode()
            finally:
                note("left with", var.get())
        return blocks()

    def at_outer(environ, start_response):
        return answer(start_response, var.get())
    """


def test_contextvars_survive_and_do_not_mix(nginx):
    server = serve(nginx, APP)
    clients = {name: send(server, f"/var?{name}") for name in "abc"}
    assert server.get("/outer").json() == "unset"
    for name in "cab":
        assert resume(server, name) is True
        found = clients[name].read_response().body
        assert found == b"done %b" % name.encode() + b'["unset", "%b", "%b in the iterator"]' % ((name.encode(),) * 2)


@pytest.mark.parametrize("how", ["reset", "timeout"])
def test_they_are_there_at_the_end(nginx, how):
    server = serve(nginx, APP, http="wsgi_suspend_timeout 500ms;" if how == "timeout" else "")
    client = send(server, "/var?a")
    client.reset() if how == "reset" else client.read_response()
    assert wait_notes(server, "left with") == ["left with a in the iterator"]


def test_resume_takes_no_context_along(nginx):
    """Whoever resumes, from another request or a thread, the application has its own."""
    server = serve(nginx, APP + """
    def at_resume_with(environ, start_response):
        var.set("of the other")
        def wake():
            var.set("of the thread")
            note("said", resumes["b"]())
        thread = threading.Thread(target=wake)
        thread.start()
        thread.join()
        return answer(start_response, resumes["a"]())
    """)
    clients = [send(server, f"/var?{name}") for name in "ab"]
    assert server.get("/resume_with").json() is True
    for name, client in zip("ab", clients):
        assert client.read_response().body.endswith(b'"%b in the iterator"]' % name.encode())


def test_threads_run_while_requests_are_suspended(nginx):
    """nginx's thread has given the GIL back."""
    server = serve(nginx, """
        def at_counts(environ, start_response):
            start_response("200 OK", PLAIN)
            resume = environ["x-wsgiorg.suspend"]()
            said = []
            def count():
                said.append(sum(range(2_000_000)))
                resume()
            threading.Thread(target=count).start()
            yield b""
            yield json.dumps(said).encode()
        """)
    assert server.get("/counts").json() == [sum(range(2_000_000))]


def test_requests_that_resume_one_another_in_a_ring(nginx):
    server = serve(nginx, """
        def at_ring(environ, start_response):
            name = environ["QUERY_STRING"]
            follows = str((int(name) + 1) % 5)
            start_response("200 OK", PLAIN)
            for turn in range(50):
                resumes[name] = environ["x-wsgiorg.suspend"]()
                if turn == 0:
                    note("waits")
                yield b""
                resumes[follows]()
            yield b"round"
        """)
    clients = [server.connect() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send_request("GET", f"/ring?{number}")
    suspended(server, 5)
    resume(server, 0)
    for client in clients:
        assert client.read_response().body == b"round"
