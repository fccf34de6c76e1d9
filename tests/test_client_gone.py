"""A client that leaves: what close() still finds, and what is given back at once."""

from harness.apps import serve, settled, wait_notes
from harness.nginx import rss, wait_for

MIB = 1024 * 1024


def test_close_never_reads_from_a_file_of_somebody_else(nginx):
    """The descriptor of a body's temporary file is free again once nginx has closed it."""
    server = serve(nginx, """
        class Closing:
            def __init__(self, environ):
                self.environ = environ
            def __iter__(self):
                return iter([b"x" * 10_000_000] * 10)
            def close(self):
                with open(os.path.join(HERE, "secret")) as file:
                    try:
                        data = self.environ["wsgi.input"].read(10)
                    except ValueError:
                        data = b"refused"
                note("close", data)

        def at_post(environ, start_response):
            start_response("200 OK", PLAIN)
            return Closing(environ)
        """, "location / { client_max_body_size 1m; client_body_buffer_size 1k; wsgi_pass app.py; }")
    (server.folder / "secret").write_text("SECRET" * 100_000)
    client = server.connect(rcvbuf=4096)
    client.send_request("POST", "/post", body=b"public" * 50_000)
    client.read_head()
    client.reset()
    assert wait_notes(server, "close")[0] in ("close b'publicpubl'", "close b'refused'")


def test_blocks_are_given_back_at_once(nginx):
    """Not when the next request comes to Python."""
    server = serve(nginx, """
        def at_big(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(bytes([120]) * 100_000_000)
        """)
    before = rss(server.worker)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    settled(lambda: rss(server.worker))
    assert rss(server.worker) - before > 90 * MIB
    client.reset()
    wait_notes(server, "close")
    wait_for(lambda: rss(server.worker) - before < 20 * MIB, lambda: f"{rss(server.worker) - before} bytes are left")


def test_a_destructor_that_writes(nginx):
    """A subclass of bytes may do anything when nginx is done with it."""
    server = serve(nginx, """
        class Block(bytes):
            def __del__(self):
                note("del", raised(self.write, b"late"))

        def at_del(environ, start_response):
            write = start_response("200 OK", PLAIN)
            block = Block(b"a" * 600)
            block.write = write
            return Body(block, b"b" * 600)
        """)
    assert server.get("/del").body.startswith(b"a" * 600)
    assert "RuntimeError" not in wait_notes(server, "del")[0]
