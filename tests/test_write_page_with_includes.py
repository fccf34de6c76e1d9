"""write() of a page with SSI includes: nginx holds the rest back for the subrequest, which must not be waited for."""

from harness.apps import serve


def test_what_follows_an_include_comes_after_it(nginx):
    server = serve(nginx, """
        def at_page(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/html")])
            write(b'[<!--#include virtual="/part?1" -->|')
            write(b"w" * 300000)
            write(b'<!--#include virtual="/part?2" -->')
            return Body(b"|", b"end", b"]")

        def at_part(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/html")])
            write(b"part ")
            return [environ["QUERY_STRING"].encode()]
        """, "location / { wsgi_pass app.py; ssi on; }", tls=True, h2c=True)
    wanted = b"[part 1|" + b"w" * 300000 + b"part 2|end]"
    assert server.get("/page").body == wanted
    assert server.get("/page", tls=True).body == wanted
    assert server.h2().request("GET", "/page").body == wanted
