"""HTTP/2 without TLS: frames that refer to a file may be queued when their stream is given up."""

from harness.apps import serve

SIZE = 30 << 20


def test_no_byte_of_another_file(nginx):
    """A descriptor that is closed too early is soon that of another file."""
    server = serve(nginx, """
        def at_file(environ, start_response):
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](open(os.path.join(HERE, "big"), "rb"))

        def at_other(environ, start_response):
            global kept
            kept = [open(os.path.join(HERE, "secret"), "rb") for _ in range(20)]
            return answer(start_response, b"ok")

        def at_release(environ, start_response):
            while kept:
                kept.pop().close()
            return answer(start_response, b"ok")
        """, """
        sendfile on; send_timeout 60s;
        location /file { send_timeout 300ms; wsgi_script_name ""; wsgi_pass app.py; }
        location / { wsgi_pass app.py; }
        """, h2c=True)
    (server.folder / "big").write_bytes(b"A" * SIZE)
    (server.folder / "secret").write_bytes(b"S" * SIZE)
    client = server.h2(window=100 << 20, rcvbuf=4096)
    client.h2.increment_flow_control_window(50 << 20)
    client.flush()
    stream = client.send_request("GET", "/file")
    server.wait_for_log("client timed out")
    assert server.get("/other").body == b"ok"
    # The client reads again: what was queued comes, and then the stream has been reset.
    client.wait(lambda: stream.reset is not None or stream.complete, "the end of the stream")
    assert stream.body and not bytes(stream.body).strip(b"A")
    assert server.get("/release").body == b"ok"
